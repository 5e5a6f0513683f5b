"""Four bits to e4m3 with a scale for each row, without the weight in floating point in memory."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import fp8, reference
from .dequantise_4bit_plus import values_of

VALUES = 1024
"""Values of a row at a time."""


@triton.jit
def requantise_4bit_fp8_kernel(
    packed,
    absmax,
    code,
    nested_absmax,
    nested_code,
    codes,
    scales,
    columns,
    offset,
    smallest,
    limit,
    blocksize: tl.constexpr,
    nested_blocksize: tl.constexpr,
    nested: tl.constexpr,
    values_each: tl.constexpr,
):
    """One row: dequantised for its largest magnitude, and again, from the cache, for its codes."""
    begin = tl.program_id(0).to(tl.int64) * columns
    largest = tl.zeros((values_each,), dtype=tl.float32)
    for start in range(0, columns, values_each):
        column = start + tl.arange(0, values_each)
        value = values_of(
            packed,
            absmax,
            code,
            nested_absmax,
            nested_code,
            offset,
            begin + column,
            column < columns,
            blocksize,
            nested_blocksize,
            nested,
        )
        largest = tl.maximum(largest, tl.abs(value))
    bounded = tl.maximum(tl.max(largest, axis=0), smallest)
    tl.store(scales + tl.program_id(0), tl.div_rn(bounded, limit))
    inverse = tl.div_rn(1.0, bounded) * limit  # as torch divides a number by a tensor
    for start in range(0, columns, values_each):
        column = start + tl.arange(0, values_each)
        value = values_of(
            packed,
            absmax,
            code,
            nested_absmax,
            nested_code,
            offset,
            begin + column,
            column < columns,
            blocksize,
            nested_blocksize,
            nested,
        )
        tl.store(codes + begin + column, (value * inverse).to(codes.dtype.element_ty), mask=column < columns)


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
    """As ``fp8.requantise_4bit_fp8``."""
    outputs, inputs = shape
    codes = packed.new_empty((outputs, inputs), dtype=torch.float8_e4m3fn)
    scales = packed.new_empty((outputs,), dtype=torch.float32)
    nested = nested_absmax is not None
    requantise_4bit_fp8_kernel[(outputs,)](
        packed,
        absmax,
        code,
        nested_absmax if nested else absmax,
        nested_code if nested else code,
        codes,
        scales,
        inputs,
        offset,
        reference.SMALLEST_ROW,
        fp8.LARGEST,
        blocksize=blocksize,
        nested_blocksize=nested_blocksize,
        nested=nested,
        values_each=VALUES,
        enable_fp_fusion=False,
    )
    return codes, scales
