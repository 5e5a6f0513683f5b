"""A seam: a place that PyTorch or transformers left open, where an adapter enters without changing the model's code."""

from abc import ABC, abstractmethod
from functools import singledispatch

from ..errors import InvalidPluginError
from .site import Site
from .site_adapter import SiteAdapter
from .slot import SLOT, Switch, open_slot, slot_of


class Seam(ABC):
    """How one kind of adapter enters and leaves a model.

    Attributes:
        key: Its name in the slots.
        weighs: Whether an adapter there can take part with another weight than 1.
        routes: Whether an adapter there can answer single rows of a batch.
    """

    key: str
    weighs: bool = True
    routes: bool = False

    def require(self, site: Site) -> None:  # noqa: B027 - most seams are open at any site
        """Refuse a site that is known to leave no way in.

        Raises:
            PlanError: Why, and what to do instead.
        """

    def insert(self, site: Site, name: str, adapter: SiteAdapter, switch: Switch) -> None:
        """Let ``adapter`` take part at ``site`` while ``switch`` is on."""
        slot = open_slot(site.module)
        if self.key not in slot.switches:
            self.open(site)
        if not site.module.training:
            adapter.eval()
        slot.put(self.key, name, adapter, switch)

    def remove(self, site: Site, name: str, adapter: SiteAdapter) -> None:
        """Undo ``insert``; with the last adapter every trace goes."""
        slot = slot_of(site.module)
        assert slot is not None
        slot.take(self.key, name)
        if self.key not in slot.switches:
            self.close(site)
        if not slot._modules:
            del site.module._modules[SLOT]

    def turn(self, adapter: SiteAdapter, on: bool) -> None:  # noqa: B027 - most seams look at the switch itself
        """Told when the adapter's switch has changed."""

    @abstractmethod
    def open(self, site: Site) -> None:
        """Make way for the first adapter of this kind at ``site``."""

    @abstractmethod
    def close(self, site: Site) -> None:
        """Undo ``open``, after the last one has gone."""


@singledispatch
def seam_of(adapter: SiteAdapter) -> Seam:
    """The seam that an adapter of this type enters through.

    Raises:
        InvalidPluginError: It is of none of the kinds that Inarch knows.
    """
    raise InvalidPluginError(
        f"{type(adapter).__name__} is no kind of adapter: derive it from OutputAdapter, InputAdapter, "
        "AttentionAdapter, ExpertsAdapter, PromptAdapter or ModelAdapter."
    )
