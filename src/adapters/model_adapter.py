"""An adapter that enters a model in a way of its own."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from ..errors import MergeError
from .seam import Seam, seam_of
from .site import Site
from .site_adapter import SiteAdapter
from .slot import SLOT, Switch, open_slot, slot_of


class ModelAdapter(SiteAdapter):
    """An adapter of a whole model that inserts and removes itself, for what no other seam can hold.

    It may change the structure of the model while it is on, and so it is alone: with it attached no other adapter is,
    and its model's names are the base's again while it is off. ``named_parameters`` and ``state_dict`` answer for it at
    any time; before it is inserted, on any device.
    """

    @abstractmethod
    def insert(self, name: str) -> None:
        """Enter the model, switched on.

        Raises:
            InarchError: It cannot; the model is as it was.
        """

    @abstractmethod
    def remove(self) -> None:
        """Leave the model as it was, to the bit."""

    @abstractmethod
    def turn(self, on: bool) -> None:
        """Take part in the forward pass, or leave the model as it was, to the bit, until turned on again."""

    def beside(self) -> nn.Module | None:
        """What it holds outside the model's modules, to be moved, switched to training, and saved with the model."""
        return None

    def merged(self) -> Mapping[str, Tensor]:
        """The base parameters that differ with the adapter merged into them, by name, in the base's dtype.

        Raises:
            MergeError: Its function is no change of the base parameters.
        """
        raise MergeError(f"{type(self).__name__} cannot be merged: its function is no change of the base weights.")


class ModelSeam(Seam):
    """The model itself."""

    key = "model"
    weighs = False

    def insert(self, site: Site, name: str, adapter: SiteAdapter, switch: Switch) -> None:
        """Let it insert itself, and put what it holds besides into the slot."""
        assert isinstance(adapter, ModelAdapter)
        adapter.insert(name)
        held = adapter.beside()
        if held is not None:
            held.train(site.module.training)
            open_slot(site.module).put(self.key, name, held, switch)

    def remove(self, site: Site, name: str, adapter: SiteAdapter) -> None:
        """Let it remove itself."""
        assert isinstance(adapter, ModelAdapter)
        slot = slot_of(site.module)
        if slot is not None and name in slot._modules:
            slot.take(self.key, name)
            if not slot._modules:
                del site.module._modules[SLOT]
        adapter.remove()

    def turn(self, adapter: SiteAdapter, on: bool) -> None:
        """Pass it on."""
        assert isinstance(adapter, ModelAdapter)
        adapter.turn(on)

    def open(self, site: Site) -> None:
        """Nothing to make way for."""

    def close(self, site: Site) -> None:
        """Nothing to undo."""


_SEAM = ModelSeam()
seam_of.register(ModelAdapter, lambda adapter: _SEAM)
