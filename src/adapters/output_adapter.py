"""An adapter at the output of a module."""

from abc import abstractmethod

from torch import Tensor

from .site_adapter import SiteAdapter


class OutputAdapter(SiteAdapter):
    """An adapter at the output of one base module: ``y' = adapter.forward(x, y)``; hooks on it are not called."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The adapted output.

        Args:
            x: What the base module was given, shape (..., in_features).
            y: What it gave, shape (..., out_features).

        Returns:
            The adapted output, of the shape and dtype of ``y``.
        """
