"""``inarch methods``: which methods can be attached."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ..errors import UnknownNameError, suggestion
from ..registry import MethodInfo, registry
from ..training.quiet import quiet_transformers
from .output import Json, print_json, print_table

Names = Annotated[list[str] | None, typer.Argument(help="These methods only.", show_default=False)]


def methods(names: Names = None, json: Json = False) -> None:
    """List the methods: what each does and supports, its settings, and the package that brought it."""
    with quiet_transformers():  # what a library says when it is first imported
        found = _named(registry().methods(), names or [])
        described = [(info.to_dict(), _row(info)) for info in found]
    if json:
        print_json([entry for entry, _ in described])
    else:
        columns = ("method", "package", "what it does and supports, and its settings")
        print_table(columns, [row for _, row in described])


def _named(everything: Mapping[str, MethodInfo], names: list[str]) -> list[MethodInfo]:
    for name in names:
        if name not in everything:
            raise UnknownNameError(f'There is no method "{name}": {suggestion(name, everything)}')
    return [everything[name] for name in names] or list(everything.values())


def _row(info: MethodInfo) -> tuple[str, str, str]:
    settings = ", ".join(f"{name}={value!r}" for name, value in info.settings.items())
    supports = "; ".join(f"{name}: {_said(value)}" for name, value in info.supports.items())
    described = f"{info.summary}\n  {supports}\n  {settings}"
    return info.name, f"{info.distribution} {info.version}".strip(), described


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
