"""Weights and activations in eight bits of floating point, e4m3, with a scale for each row: plain torch.

E4M3 has a sign, four bits of exponent and three of mantissa: it rounds a normal number by 2^-4 of it at most, and one
below 2^-6 by 2^-10, counted in scales (arXiv:2209.05433, section 3).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import reference

LARGEST = 448.0
"""Of the numbers of e4m3."""


def quantise_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Each row over its largest magnitude, times 448, rounded to the nearest: e4m3, and float32 scales.

    Args:
        weight: Floating point, shape (rows, columns).

    Returns:
        The values in ``torch.float8_e4m3fn``, and for each row what they are times: its largest magnitude / 448.
    """
    values = weight.float()
    largest = values.abs().amax(dim=1).clamp(min=reference.SMALLEST_ROW)
    return (values * (LARGEST / largest).unsqueeze(1)).to(torch.float8_e4m3fn), largest / LARGEST


def requantise_4bit_fp8(
    packed: Tensor,
    absmax: Tensor,
    code: Tensor,
    blocksize: int,
    nested_absmax: Tensor | None,
    nested_code: Tensor | None,
    offset: float,
    nested_blocksize: int,
    shape: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """``quantise_fp8`` of a weight in four bits."""
    scales = reference.block_scales(absmax, nested_absmax, nested_code, offset, nested_blocksize)
    return quantise_fp8(reference.dequantise_4bit(packed, scales, code, blocksize, shape, torch.float32))
