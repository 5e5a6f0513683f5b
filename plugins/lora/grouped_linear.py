"""A linear map for each group of rows, which ``torch.compile`` and autograd know."""

from typing import Any

import torch
from torch import Tensor


def grouped_linear(x: Tensor, weight: Tensor, groups: Tensor, ends: Tensor) -> Tensor:
    """``y[i] = weight[groups[i]] x[i]`` for rows sorted by group; groups without rows cost next to nothing.

    Args:
        x: Shape (rows, in_features).
        weight: Shape (groups, out_features, in_features), in any dtype and layout.
        groups: The group of each row, shape (rows,), ascending.
        ends: Where the rows of each group end, shape (groups,).

    Returns:
        Shape (rows, out_features), in the dtype of ``x``.
    """
    if x.shape[0] <= weight.shape[0]:  # few rows: one product, and no more than the whole weight is gathered
        return torch.bmm(weight[groups].to(x.dtype), x.unsqueeze(-1)).squeeze(-1)
    y: Tensor = _by_group(x, weight, ends)
    return y


@torch.library.custom_op("inarch_lora::by_group", mutates_args=())
def _by_group(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    y = x.new_zeros(x.shape[0], weight.shape[1])
    start = 0
    for group, end in enumerate(ends.tolist()):
        if end > start:
            torch.mm(x[start:end], weight[group].to(x.dtype).t(), out=y[start:end])
            start = end
    return y


@torch.library.custom_op("inarch_lora::sum_by_group", mutates_args=())
def _sum_by_group(y: Tensor, x: Tensor, ends: Tensor, dtype: torch.dtype) -> Tensor:
    """``sum over the rows i of group g of y[i] x[i]^T``: the gradient of a weight, in ``dtype``."""
    total = x.new_zeros(ends.shape[0], y.shape[1], x.shape[1], dtype=dtype)
    start = 0
    for group, end in enumerate(ends.tolist()):
        if end > start:
            total[group] = y[start:end].t() @ x[start:end]
            start = end
    return total


@_by_group.register_fake
def _(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


@_sum_by_group.register_fake
def _(y: Tensor, x: Tensor, ends: Tensor, dtype: torch.dtype) -> Tensor:
    return x.new_empty(ends.shape[0], y.shape[1], x.shape[1], dtype=dtype)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, ends = ctx.saved_tensors
    wants_x, wants_weight, _ = ctx.needs_input_grad
    of_x = _by_group(gradient, weight.mT, ends) if wants_x else None
    of_weight = _sum_by_group(gradient, x, ends, weight.dtype) if wants_weight else None
    return of_x, of_weight, None


_by_group.register_autograd(_backward, setup_context=_save)
