"""An adapter before the embedded tokens."""

from abc import abstractmethod

from torch import Tensor

from .site_adapter import SiteAdapter


class PromptAdapter(SiteAdapter):
    """Vectors that stand before the embedded tokens of every row, as further tokens; its site is the model.

    They take the positions before the tokens', padding on the left stays on the left of them, and what the model gives
    is at the tokens alone. Of an encoder-decoder they stand in the encoder, whose states keep them. In a model that may
    pool its first token they stand after that one (``PromptPath.second``).
    """

    @abstractmethod
    def forward(self) -> Tensor:
        """The vectors, shape (length, hidden size)."""
