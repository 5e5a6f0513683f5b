"""Tensors that a caller brings for a result, so that nothing of the weight's size is allocated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import FormatError


def require_buffer(out: Tensor, shape: Sequence[int], dtype: torch.dtype | None, device: torch.device) -> None:
    """Refuse a tensor that a weight cannot be written into.

    Args:
        out: The tensor.
        shape: Of the weight.
        dtype: That was asked for; none leaves it to ``out``.
        device: Of the weight.

    Raises:
        FormatError: It is of another shape, dtype or device, or not contiguous.
    """
    shape = tuple(shape)
    fits = tuple(out.shape) == shape and dtype in (None, out.dtype) and out.device == device
    if fits and out.is_contiguous() and out.is_floating_point():
        return
    layout = "contiguous" if out.is_contiguous() else "not contiguous"
    raise FormatError(
        f"out is of {out.dtype} and shape {tuple(out.shape)} on {out.device}, {layout}; a weight of shape {shape} "
        f"is written into a contiguous tensor of {dtype or 'a floating-point dtype'} and its shape on {device}."
    )


def require_low_rank(B: Tensor, A: Tensor, shape: Sequence[int]) -> None:
    """Refuse factors whose product is not of the weight's shape.

    Args:
        B: Shape (out_features, rank).
        A: Shape (rank, in_features).
        shape: Of the weight.

    Raises:
        FormatError: They are of other shapes.
    """
    shape = tuple(shape)
    if B.dim() == A.dim() == 2 and (B.shape[0], A.shape[1]) == shape and B.shape[1] == A.shape[0]:
        return
    raise FormatError(
        f"B of shape {tuple(B.shape)} and A of shape {tuple(A.shape)} make no change of a weight of shape {shape}: "
        f"B is ({shape[0]}, rank) and A (rank, {shape[-1]})."
    )
