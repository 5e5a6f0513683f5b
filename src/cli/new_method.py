"""``inarch new-method``: a package for a method of your own."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError, DuplicateNameError
from .output import Json, print_json

Name = Annotated[str, typer.Argument(help="What the method is to be called, such as gated-low-rank.")]
Output = Annotated[Path, typer.Option(help="The folder that the package's folder is made in.")]

# The template is a working package of a method called new-method, in the folder of that name.
NAME, MODULE, CLASS = "new-method", "new_method", "NewMethod"
TAKEN = ("Callable", "False", "None", "True")
"""Names that the class cannot have."""


def new_method(name: Name, output: Output = Path(), json: Json = False) -> None:
    """Write an installable package with a small method in it, which keeps every law and is yours to change."""
    folder = output / f"inarch-{name}"
    written = created(name, folder)
    if json:
        print_json({"folder": str(folder), "files": [path.name for path in written]})
        return
    typer.echo(f"{folder}\n" + "".join(f"  {path.name}\n" for path in written))
    typer.echo(f"install  pip install --editable {folder}\ncheck    inarch check {name}\ntest     pytest {folder}")


def created(name: str, folder: Path) -> list[Path]:
    """The files of a new package in ``folder``, which must not exist.

    Raises:
        ConfigError: A name that cannot be, or a folder that exists or cannot be written.
        DuplicateNameError: There is a method of that name.
    """
    _require_name(name)
    words = {NAME: name, MODULE: name.replace("-", "_"), CLASS: _class_name(name)}
    content = {_replaced(file, words): _replaced(text, words) for file, text in _template().items()}
    try:
        folder.mkdir(parents=True)
        for file, text in content.items():
            (folder / file).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise ConfigError(f"{folder} exists: name another method, or another folder with --output.") from error
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror or error}.") from error
    return [folder / file for file in content]


def _template() -> dict[str, str]:
    """The files of the template by name."""
    folder = files("inarch.testing") / NAME
    found = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.name)
    return {file.name: file.read_text(encoding="utf-8") for file in found}


def _require_name(name: str) -> None:
    from ..registry import registry  # here, since it imports PyTorch

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or _class_name(name) in TAKEN:
        raise ConfigError(
            f'"{name}" cannot name a method: use words of a-z and 0-9 with - between, such as "low-rank".'
        )
    known = registry().methods().get(name)
    if known is not None:
        raise DuplicateNameError(f'There is a method "{name}" of {known.distribution or known.plugin}: choose another.')


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _replaced(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text
