"""YAML in and out, with numbers as a practitioner writes them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Reads ``2e-3`` as a number, as YAML 1.2 does; in YAML 1.1, which PyYAML follows, it is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: No such file, no YAML, or YAML that is no mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(f"Cannot read the config {path}: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The config {path} is not UTF-8 text. Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The config {path} is not valid YAML: {_one_line(error)}.") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"The config {path} holds no settings: it must be a mapping such as `model: gpt2`.")
    return dict(content)


def yaml_text(content: Mapping[str, Any]) -> str:
    """A mapping of JSON types as YAML that ``read_yaml`` reads back equal."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)


def _one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} at line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())
