"""What a method builds for a site: a module that turns the base module's output into the adapted one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class WeightDelta:
    """What an adapter adds to the parameters of its base module; ``None`` where it adds nothing.

    Attributes:
        weight: Shape (out_features, in_features).
        bias: Shape (out_features,).
    """

    weight: Tensor | None = None
    bias: Tensor | None = None


class OutputAdapter(nn.Module, ABC):
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

    def delta(self) -> WeightDelta | None:
        """The same function as a change of the base parameters, in this adapter's dtype.

        ``None`` says that there is no such change (the adapter is not linear in ``x``), and merging is refused.
        """
        return None
