"""An adapter at the output of a module."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

from torch import Tensor

from ..quant import Factors
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

    def factors(self) -> Factors | None:
        """What this adapter makes of a linear map as thin matrices, where it is that, as long as it is in this state.

        With them the engine computes base and adapter in one product. They are asked for at every call.
        """
        return None

    @classmethod
    def for_rows(
        cls, adapters: Sequence[Self | None], weights: Sequence[float]
    ) -> Callable[[Tensor, Tensor], Tensor] | None:
        """A function that answers row i of a batch by ``adapters[i]``, all rows at once, for inference.

        It makes ``route`` faster, where a few operations on gathered parameters do for all adapters. Without it each
        adapter is run on its own rows.

        Args:
            adapters: The adapter of each row, of one site; ``None`` for a row that has none.
            weights: The weight of each row's adapter.

        Returns:
            A function of ``x`` and ``y`` as in ``forward``; axis 0 may be a multiple of the rows, each row as many
            places one after the other. ``None`` says that there is no such function.
        """
        return None
