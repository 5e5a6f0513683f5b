"""The slot: the child module of a base module that holds its adapters."""

from dataclasses import dataclass
from typing import Any

from torch import nn

SLOT = "inarch"
"""Name of the slot among the base module's children, and so the word in the names of an adapter's parameters."""


@dataclass
class Switch:
    """Whether, and how strongly, one adapter takes part in the forward pass: shared by its sites, so that is one write.

    Attributes:
        on: Whether it takes part.
        weight: How much of its change is taken: 1 all, 0 none; between outputs it is linear interpolation.
    """

    on: bool = True
    weight: float = 1.0


class Slot(nn.Module):
    """The adapters of one base module by adapter name, in the order they were attached.

    It is a registered child, so that an adapter's parameters move with their layer and are found by optimizers.

    Attributes:
        switches: For each seam by its key, the switches of the adapters that take part there, by adapter name.
        rows: Which adapter answers which row of the batch while ``route`` is on; else ``None``.
    """

    switches: dict[str, dict[str, Switch]]
    rows: Any = None

    def __init__(self) -> None:
        super().__init__()
        vars(self)["switches"] = {}  # Module.__setattr__ takes 5 us

    def put(self, seam: str, name: str, adapter: nn.Module, switch: Switch) -> None:
        """Add an adapter under its name."""
        self.add_module(name, adapter)
        self.switches.setdefault(seam, {})[name] = switch

    def take(self, seam: str, name: str) -> None:
        """Remove an adapter."""
        del self._modules[name]
        del self.switches[seam][name]
        if not self.switches[seam]:
            del self.switches[seam]


def open_slot(module: nn.Module) -> Slot:
    """The slot of a base module, made if there is none."""
    slot = module._modules.get(SLOT)
    if not isinstance(slot, Slot):
        slot = Slot()
        slot.training = module.training
        module.add_module(SLOT, slot)
    return slot


def slot_of(module: nn.Module) -> Slot | None:
    """The slot of a base module, if it has one."""
    slot = module._modules.get(SLOT)
    return slot if isinstance(slot, Slot) else None
