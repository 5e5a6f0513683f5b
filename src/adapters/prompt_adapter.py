"""An adapter before the embedded tokens."""

from abc import abstractmethod

from torch import Tensor

from .site_adapter import SiteAdapter


class PromptAdapter(SiteAdapter):
    """Vectors that stand before the embedded tokens of every row, as further tokens; its site is the model."""

    @abstractmethod
    def forward(self) -> Tensor:
        """The vectors, shape (length, hidden size)."""
