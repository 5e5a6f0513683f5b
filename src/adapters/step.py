"""One step of an optimizer, as a method with a schedule sees it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """An optimizer step that has just been done.

    Attributes:
        number: How many steps there have been, this one included, since the method was attached.
        optimizer: The optimizer.
    """

    number: int
    optimizer: torch.optim.Optimizer

    def keep(self, parameter: nn.Parameter, kept: Tensor, axis: int) -> None:
        """Shrink a parameter to the indices ``kept`` of one axis, with its gradient and the optimizer's averages of it.

        Averages are the tensors of the optimizer's state that have the parameter's shape; others are left as they are.
        """
        shape = parameter.shape
        state = self.optimizer.state.get(parameter, {})
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == shape:
                state[key] = value.index_select(axis, kept)
        gradient = parameter.grad
        parameter.grad = None  # a gradient must have its parameter's shape at every moment
        parameter.data = parameter.data.index_select(axis, kept)
        if gradient is not None:
            parameter.grad = gradient.index_select(axis, kept)
