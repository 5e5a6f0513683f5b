"""An adapter at the input of a module."""

from abc import abstractmethod

from torch import Tensor

from .site_adapter import SiteAdapter


class InputAdapter(SiteAdapter):
    """An adapter at the input of one base module, which is given ``adapter.forward(x)``; hooks on it are not called."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """The adapted input.

        Args:
            x: What the base module is called with, shape (..., in_features).

        Returns:
            What it gets instead, of the shape and dtype of ``x``.
        """
