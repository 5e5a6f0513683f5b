"""An adapter that enters a model in a way of its own."""

from abc import abstractmethod

from ..errors import MergeError
from .seam import Seam, seam_of
from .site import Site
from .site_adapter import SiteAdapter
from .slot import Switch


class ModelAdapter(SiteAdapter):
    """An adapter of a whole model that inserts and removes itself, for what no other seam can hold.

    Before it is inserted its parameters may lie on the meta device; afterwards they are those that are trained.
    ``named_parameters`` and ``state_dict`` answer for them in both states.
    """

    @abstractmethod
    def insert(self, name: str) -> None:
        """Enter the model, switched on; on an error the model is left as it was."""

    @abstractmethod
    def remove(self) -> None:
        """Leave the model as it was, to the bit."""

    @abstractmethod
    def turn(self, on: bool) -> None:
        """Take part in the forward pass, or not."""

    def merge(self) -> None:
        """Put itself into the base weights.

        Raises:
            MergeError: It cannot.
        """
        raise MergeError(f"{type(self).__name__} cannot be merged: its function is no change of the base weights.")

    def unmerge(self) -> None:
        """Undo ``merge``, to the bit."""
        raise NotImplementedError


class ModelSeam(Seam):
    """The model itself."""

    key = "model"
    weighs = False

    def insert(self, site: Site, name: str, adapter: SiteAdapter, switch: Switch) -> None:
        """Let it insert itself."""
        assert isinstance(adapter, ModelAdapter)
        adapter.insert(name)

    def remove(self, site: Site, name: str, adapter: SiteAdapter) -> None:
        """Let it remove itself."""
        assert isinstance(adapter, ModelAdapter)
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
