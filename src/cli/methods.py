"""``inarch methods``: which methods can be attached."""

from ..registry import MethodInfo, registry
from .output import Json, print_json, print_table


def methods(json: Json = False) -> None:
    """List the methods, with their settings and the package that brought each."""
    found = registry().methods().values()
    if json:
        print_json([info.to_dict() for info in found])
        return
    print_table(
        ("method", "package", "what it does, and its settings"),
        ((info.name, f"{info.distribution} {info.version}".strip(), _described(info)) for info in found),
    )


def _described(info: MethodInfo) -> str:
    settings = ", ".join(f"{name}={value!r}" for name, value in info.settings.items())
    return f"{info.summary}\n  {settings}"
