"""``inarch plugins``: which plugins there are, and what each brought."""

from ..registry import registry
from ..training import Task
from .output import Json, print_json, print_table


def plugins(json: Json = False) -> None:
    """List the plugins, with those that were left out and why."""
    registry().collect("register_tasks", "task", Task)
    found = registry().plugins
    if json:
        print_json([plugin.to_dict() for plugin in found])
        return
    print_table(
        ("plugin", "package", "state", "provides"),
        (
            (p.name, f"{p.distribution} {p.version}".strip(), p.state, p.reason or ", ".join(p.provides) or "-")
            for p in found
        ),
    )
