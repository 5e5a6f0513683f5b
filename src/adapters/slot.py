"""The slot: the child module of a base module that holds its adapters."""

from dataclasses import dataclass

from torch import nn

SLOT = "inarch"
"""Name of the slot among the base module's children, and so the word in the names of an adapter's parameters."""


@dataclass
class Switch:
    """Whether one adapter takes part in the forward pass: shared by all its sites, so switching costs one write."""

    on: bool = True


class Slot(nn.Module):
    """The adapters of one base module by adapter name, in the order they were attached.

    It is a registered child, so that an adapter's parameters move with their layer and are found by optimizers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.switches: dict[str, Switch] = {}

    def put(self, name: str, adapter: nn.Module, switch: Switch) -> None:
        """Add an adapter under its name."""
        self.add_module(name, adapter)
        self.switches[name] = switch

    def take(self, name: str) -> None:
        """Remove an adapter."""
        del self._modules[name]
        del self.switches[name]
