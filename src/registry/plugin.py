"""A plugin: one module that an entry point or the environment named, and what became of it."""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from ..errors import InarchWarning

State = Literal["loaded", "disabled", "failed"]


class PluginWarning(InarchWarning):
    """A plugin that was left out, and why."""


@dataclass
class Plugin:
    """One plugin.

    Attributes:
        name: Name of its entry point.
        value: What the entry point names: the module to import.
        distribution: The package that brought it; empty for a module named by the environment.
        version: Version of that package.
        state: Whether it takes part.
        reason: Why not, where it does not.
        provides: What it registered, such as ``method lora``.
    """

    name: str
    value: str
    distribution: str = ""
    version: str = ""
    state: State = "loaded"
    reason: str = ""
    provides: list[str] = field(default_factory=list)
    module: ModuleType | None = field(default=None, repr=False)

    @property
    def origin(self) -> str:
        """Where it came from, for a message: ``"lora" of inarch 0.1.0``."""
        return f'"{self.name}" of {f"{self.distribution} {self.version}".strip() or self.value}'

    def to_dict(self) -> dict[str, Any]:
        """The plugin as JSON types."""
        return {
            key: getattr(self, key)
            for key in ("name", "value", "distribution", "version", "state", "reason", "provides")
        }
