"""``inarch methods``: which methods can be attached."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..errors import UnknownNameError, suggestion
from ..registry import MethodInfo, registry
from .output import Json, print_json, print_table

Names = Annotated[list[str] | None, typer.Argument(help="These methods only.", show_default=False)]


def methods(names: Names = None, json: Json = False) -> None:
    """List the methods: what each does and supports, its settings, and the package that brought it."""
    found = _named(registry().methods(), names or [])
    if json:
        print_json([info.to_dict() for info in found])
        return
    print_table(
        ("method", "package", "what it does and supports, and its settings"),
        ((info.name, f"{info.distribution} {info.version}".strip(), _described(info)) for info in found),
    )


def _named(everything: Mapping[str, MethodInfo], names: list[str]) -> list[MethodInfo]:
    for name in names:
        if name not in everything:
            raise UnknownNameError(f'There is no method "{name}": {suggestion(name, everything)}')
    return [everything[name] for name in names] or list(everything.values())


def _described(info: MethodInfo) -> str:
    settings = ", ".join(f"{name}={value!r}" for name, value in info.settings.items())
    supports = "; ".join(f"{name}: {_said(value)}" for name, value in info.supports.items())
    return f"{info.summary}\n  {supports}\n  {settings}"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
