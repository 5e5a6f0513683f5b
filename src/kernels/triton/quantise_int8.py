"""Floating point to eight bits: each row over its largest magnitude, in 127ths."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import reference

VALUES = 1024
"""Values of a row at a time."""

TO_INTEGER = 1.5 * 2**23
"""Added and taken away again, in float32: what is left is the nearest integer, of two equally near the even one."""


@triton.jit
def largest_of_row(values, row, columns, values_each: tl.constexpr):
    """The largest magnitude of a row, float32."""
    largest = tl.zeros((values_each,), dtype=tl.float32)
    for start in range(0, columns, values_each):
        column = start + tl.arange(0, values_each)
        loaded = tl.load(values + row * columns + column, mask=column < columns, other=0.0).to(tl.float32)
        largest = tl.maximum(largest, tl.abs(loaded))
    return tl.max(largest, axis=0)


@triton.jit
def quantise_int8_kernel(weight, codes, scales, columns, smallest, to_integer, values_each: tl.constexpr):
    """One row: read for its largest magnitude, and again, from the cache, for its codes."""
    row = tl.program_id(0).to(tl.int64)
    largest = largest_of_row(weight, row, columns, values_each)
    tl.store(scales + row, largest)
    step = tl.div_rn(1.0, tl.maximum(largest, smallest)) * 127.0  # as torch divides a number by a tensor
    for start in range(0, columns, values_each):
        column = start + tl.arange(0, values_each)
        loaded = tl.load(weight + row * columns + column, mask=column < columns, other=0.0).to(tl.float32)
        rounded = (loaded * step + to_integer) - to_integer
        tl.store(codes + row * columns + column, rounded.to(tl.int8), mask=column < columns)


def quantise_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.quantise_int8``."""
    weight = weight.contiguous()
    codes = torch.empty_like(weight, dtype=torch.int8)
    scales = weight.new_empty(weight.shape[:1], dtype=torch.float32)
    quantise_int8_kernel[(weight.shape[0],)](
        weight,
        codes,
        scales,
        weight.shape[1],
        reference.SMALLEST_ROW,
        TO_INTEGER,
        values_each=VALUES,
        enable_fp_fusion=False,
    )
    return codes, scales
