"""Copies of a model that an injection is tried on, so that the model itself is not touched."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn


def meta_copy(model: nn.Module) -> nn.Module:
    """The structure of ``model`` on the meta device: every module, no memory for weights."""
    return _copy(model, lambda tensor: tensor.detach().to("meta"))


def sharing_copy(model: nn.Module, cloned: frozenset[int] = frozenset(), kept: Iterable[Any] = ()) -> nn.Module:
    """The structure of ``model`` over the same weights.

    Args:
        model: The model.
        cloned: Identities of the parameters that the copy gets as its own.
        kept: Objects that the copy refers to as the model does, such as handles on its adapters.
    """
    return _copy(model, lambda tensor: tensor.detach().clone() if id(tensor) in cloned else tensor.detach(), kept)


def _copy(model: nn.Module, tensor_for: Callable[[Tensor], Tensor], kept: Iterable[Any] = ()) -> nn.Module:
    """A ``deepcopy`` in which ``tensor_for(tensor)`` stands for every parameter and buffer."""
    memo: dict[int, Any] = {id(thing): thing for thing in kept}
    for parameter in model.parameters():
        # A parameter of another class is a quantised weight, which knows more of itself than a tensor: it is shared.
        memo[id(parameter)] = parameter
        if type(parameter) is nn.Parameter:
            memo[id(parameter)] = nn.Parameter(tensor_for(parameter), requires_grad=parameter.requires_grad)
    memo.update({id(buffer): tensor_for(buffer) for buffer in model.buffers()})
    return copy.deepcopy(model, memo)
