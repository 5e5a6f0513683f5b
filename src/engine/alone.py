"""One piece of a model forward and backward by itself, cut out of the graph around it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils._pytree import tree_leaves, tree_map_only


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def new_root(device: torch.device) -> Tensor:
    """What a cut graph begins with."""
    return torch.zeros((), device=device, requires_grad=True)


def cut(root: Tensor, tree: Any, *, copies: bool = False) -> Any:
    """The same tensors with nothing before them in the graph but ``root``, where they ask for gradients."""

    def one(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor.clone() if copies else tensor
        return _Begin.apply(root, tensor.detach(), copies)  # type: ignore[no-any-return]

    return tree_map_only(Tensor, one, tree)


def cut_call(root: Tensor, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A function and its arguments, cut; those too that ``functools.partial`` holds by name.

    The first one is a copy, so that it can be seen whether it is kept.
    """
    copies = [cut(root, arg, copies=place == 0) for place, arg in enumerate(args)]
    if isinstance(function, partial):
        function = partial(function.func, *function.args, **cut(root, function.keywords))
    return function, *copies


def end_of(output: Any) -> Tensor:
    """A loss of all tensors in ``output`` that ask for gradients."""
    found = [tensor for tensor in tensors(output) if tensor.requires_grad]
    return _End.apply(*found) if found else torch.zeros(())


def backward(end: Tensor, inputs: Sequence[Tensor]) -> None:
    """The backward pass from ``end`` to ``inputs``, which are given no gradients."""
    if end.requires_grad:
        torch.autograd.grad(end, inputs, allow_unused=True)


@contextmanager
def gradients_given_up(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The trainable ones among ``parameters``; within, their gradients are given up as soon as they are computed."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    hooks = [parameter.register_hook(_nothing) for parameter in trained]
    try:
        yield trained
    finally:
        for hook in hooks:
            hook.remove()


def _nothing(gradient: Tensor) -> Tensor:
    """Of the same shape, without memory."""
    return gradient.new_zeros(()).expand(gradient.shape)


class _Begin(Function):
    """A tensor in the midst of a graph, of which nothing before it is known."""

    @staticmethod
    def forward(ctx: Any, root: Tensor, x: Tensor, copies: bool) -> Tensor:
        ctx.device = root.device
        return x.clone() if copies else x.data  # which is no view, so that it can be written into

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return torch.zeros((), device=ctx.device), None, None


class _End(Function):
    """A loss of any tensors; their gradients are made in the backward pass, and held by nothing but that."""

    @staticmethod
    def forward(ctx: Any, *outputs: Tensor) -> Tensor:
        ctx.like = [(output.shape, output.dtype, output.device) for output in outputs]
        return torch.zeros((), device=outputs[0].device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(torch.ones(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.like)
