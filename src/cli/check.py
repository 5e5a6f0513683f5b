"""``inarch check``: a method held to the laws."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from .output import Json, print_json, print_table

if TYPE_CHECKING:
    from ..testing import Conformance

Name = Annotated[str, typer.Argument(help="A method's name, one of those that `inarch methods` lists.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Hold it on this model only; may be given again.")]
Laws = Annotated[
    list[str] | None, typer.Option("--law", help="Hold this law only, by its number or name; may be given again.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the method, such as rank=4; may be given again.")
]

BROKEN = 1
SHOWN = {
    "held": "[green]held[/green]",
    "not applicable": "n/a",
    "refused": "refused",
    "not run": "[yellow]not run[/yellow]",
    "broken": "[bold red]broken[/bold red]",
}


def check(method: Name, model: Models = None, law: Laws = None, settings: Settings = None, json: Json = False) -> None:
    """Hold a method to the laws that every method keeps, on a tiny model of each kind."""
    result = _watched(method, _parsed(settings or ()), model or None, law or None)
    if json:
        print_json(result.to_dict())
    else:
        _print(result)
    if not result.holds:
        raise typer.Exit(BROKEN)


def _parsed(settings: Iterable[str]) -> dict[str, Any]:
    """Settings from words such as ``rank=4``; a value is read as YAML reads it."""
    import yaml

    parsed = {}
    for word in settings:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise ConfigError(f'--set {word}: give a setting as its name and its value, such as "rank=4".')
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {word}: {value!r} cannot be read as a value: {error}") from error
    return parsed


def _watched(
    name: str, settings: dict[str, Any], models: Sequence[str] | None, laws: Sequence[str] | None
) -> "Conformance":
    """The result, with a progress bar on standard error."""
    # Here, since PyTorch takes seconds to import.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from .. import api
    from ..testing import Finding
    from ..testing.conformance import cells, check

    method = api.method(name, **settings)
    console = Console(stderr=True)
    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        row = bar.add_task("", total=len(cells(models, laws)))

        def watch(finding: Finding) -> None:
            bar.update(row, advance=1, description=f"{finding.law.name} on {finding.model}: {finding.outcome.value}")

        return check(method, models=models, laws=laws, watch=watch)


def _print(result: "Conformance") -> None:
    models = list(dict.fromkeys(finding.model for finding in result.findings))
    rows: dict[str, list[str]] = {}
    for finding in result.findings:
        rows.setdefault(f"{finding.law.number:>2} {finding.law.name}", []).append(SHOWN[finding.outcome.value])
    print_table(("law", *models), ((law, *outcomes) for law, outcomes in rows.items()))
    typer.echo(f"\n{result}")
