"""Floating point to e4m3 with a scale for each row."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import fp8, reference
from .quantise_int8 import largest_of_row

VALUES = 1024
"""Values of a row at a time."""


@triton.jit
def quantise_fp8_kernel(weight, codes, scales, columns, smallest, limit, values_each: tl.constexpr):
    """One row: read for its largest magnitude, and again, from the cache, for its codes."""
    row = tl.program_id(0).to(tl.int64)
    largest = tl.maximum(largest_of_row(weight, row, columns, values_each), smallest)
    tl.store(scales + row, tl.div_rn(largest, limit))
    inverse = tl.div_rn(1.0, largest) * limit  # as torch divides a number by a tensor
    for start in range(0, columns, values_each):
        column = start + tl.arange(0, values_each)
        loaded = tl.load(weight + row * columns + column, mask=column < columns, other=0.0).to(tl.float32)
        tl.store(codes + row * columns + column, (loaded * inverse).to(codes.dtype.element_ty), mask=column < columns)


def quantise_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """As ``fp8.quantise_fp8``."""
    weight = weight.contiguous()
    codes = torch.empty_like(weight, dtype=torch.float8_e4m3fn)
    scales = weight.new_empty(weight.shape[:1], dtype=torch.float32)
    quantise_fp8_kernel[(weight.shape[0],)](
        weight,
        codes,
        scales,
        weight.shape[1],
        reference.SMALLEST_ROW,
        fp8.LARGEST,
        values_each=VALUES,
    )
    return codes, scales
