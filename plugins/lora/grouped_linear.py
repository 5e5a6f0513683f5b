"""A linear map for each group of rows, as one operation of PyTorch's that ``torch.compile`` and autograd know."""

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("inarch_lora::grouped_linear", mutates_args=())
def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """``y[i] = weight[g(i)] x[i]`` for rows sorted by their group g; groups without rows cost nothing.

    Args:
        x: Shape (rows, in_features).
        weight: Shape (groups, out_features, in_features), in any dtype and layout.
        ends: Where the rows of each group end, shape (groups,). Rows after the last end are given zeros.

    Returns:
        Shape (rows, out_features), in the dtype of ``x``.
    """
    y = x.new_zeros(x.shape[0], weight.shape[1])
    start = 0
    for group, end in enumerate(ends.tolist()):
        if end > start:
            torch.mm(x[start:end], weight[group].to(x.dtype).t(), out=y[start:end])
            start = end
    return y


@torch.library.custom_op("inarch_lora::grouped_outer", mutates_args=())
def grouped_outer(y: Tensor, x: Tensor, ends: Tensor, dtype: torch.dtype) -> Tensor:
    """``sum over the rows i of group g of y[i] x[i]^T``: the gradient of the weight of ``grouped_linear``.

    Args:
        y: Shape (rows, out_features).
        x: Shape (rows, in_features).
        ends: Where the rows of each group end, shape (groups,).
        dtype: What the sum is given in.

    Returns:
        Shape (groups, out_features, in_features).
    """
    total = x.new_zeros(ends.shape[0], y.shape[1], x.shape[1], dtype=dtype)
    start = 0
    for group, end in enumerate(ends.tolist()):
        if end > start:
            total[group] = y[start:end].t() @ x[start:end]
            start = end
    return total


@grouped_linear.register_fake
def _(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


@grouped_outer.register_fake
def _(y: Tensor, x: Tensor, ends: Tensor, dtype: torch.dtype) -> Tensor:
    return x.new_empty(ends.shape[0], y.shape[1], x.shape[1], dtype=dtype)


def _save(context: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    context.save_for_backward(*inputs)


def _backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, ends = context.saved_tensors
    wants_x, wants_weight, _ = context.needs_input_grad
    of_x = grouped_linear(gradient, weight.mT, ends) if wants_x else None
    of_weight = grouped_outer(gradient, x, ends, weight.dtype) if wants_weight else None
    return of_x, of_weight, None


grouped_linear.register_autograd(_backward, setup_context=_save)
