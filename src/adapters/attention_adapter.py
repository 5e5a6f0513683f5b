"""An adapter among the keys and values of an attention."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from .site_adapter import SiteAdapter


class AttentionAdapter(SiteAdapter):
    """Keys and values that every query of one attention attends to besides the ones of the sequence.

    ``softmax(q [P_K; K]^T) [P_V; V]``: they stand before the sequence, take no position, and no mask hides them.

    Attributes:
        where: Name of the attention in the model, once the adapter is inserted.
    """

    where: str = ""

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        if self.where:  # a copy of an adapted model, or one that was pickled in another process
            from .attention_interface import tap  # here, since that road is built on this contract

            tap(self)

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor]:
        """The keys, shape (length, key_features), and the values, shape (length, value_features), all heads together.

        A head's features are contiguous: the seam reads them as (length, heads, head size).
        """
