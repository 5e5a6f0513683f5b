"""One step of an optimizer, as a method with a schedule sees it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """An optimizer step that has just been done.

    Attributes:
        number: How many steps there have been, this one included, since the method was attached.
        optimizers: The optimizers that hold the adapter's parameters; more than one where they are shared out.
    """

    number: int
    optimizers: tuple[torch.optim.Optimizer, ...]

    def keep(self, parameter: nn.Parameter, kept: Tensor, axis: int) -> None:
        """Shrink a parameter to the indices ``kept`` of one axis, with its gradient and what optimizers know of it.

        Optimizers' averages of the parameter's own shape are shrunk likewise. Where one keeps something of another
        shape (the factors of Adafactor, quantised averages), it begins anew for this parameter.
        """
        for optimizer in self.optimizers:
            state = optimizer.state.get(parameter)
            if state and _can_shrink(state.values(), parameter.shape):
                state.update({key: _shrunk(value, parameter.shape, kept, axis) for key, value in state.items()})
            elif state:
                del optimizer.state[parameter]
        gradient = parameter.grad
        parameter.grad = None  # a gradient must have its parameter's shape at every moment
        shrunk = parameter.detach().index_select(axis, kept)
        # While a loss is alive, autograd remembers the parameter's old shape and would refuse the next gradient. It
        # forgets it when the dtype changes, so for a moment the parameter has another one.
        parameter.data = shrunk.to(torch.float16 if shrunk.dtype != torch.float16 else torch.float32)
        parameter.data = shrunk
        if gradient is not None:
            parameter.grad = gradient.index_select(axis, kept)


def _can_shrink(values: Iterable[Any], shape: torch.Size) -> bool:
    return all(not isinstance(value, Tensor) or value.numel() == 1 or value.shape == shape for value in values)


def _shrunk(value: Any, shape: torch.Size, kept: Tensor, axis: int) -> Any:
    return value.index_select(axis, kept) if isinstance(value, Tensor) and value.shape == shape else value
