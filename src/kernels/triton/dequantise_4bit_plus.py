"""Four bits to floating point with a low-rank change added on the way: ``W + scale B A``, without W alone in memory.

The change is added to the dequantised values while they are in registers, so that the matrix product that follows
carries the adapter's path for nothing: per token there is no second product.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .dequantise_4bit import scales_of

ROWS, COLUMNS = 64, 64
"""Outputs and inputs for each program."""


@triton.jit
def dequantise_4bit_plus_kernel(
    packed,
    absmax,
    code,
    nested_absmax,
    nested_code,
    B,
    A,
    out,
    outputs,
    inputs,
    rank,
    offset,
    scale,
    blocksize: tl.constexpr,
    nested_blocksize: tl.constexpr,
    nested: tl.constexpr,
    rows_each: tl.constexpr,
    columns_each: tl.constexpr,
    ranks: tl.constexpr,
):
    """One tile of ``W + scale B A``; ``ranks`` is the rank rounded up to what a product of tiles takes."""
    row = tl.program_id(0) * rows_each + tl.arange(0, rows_each)
    column = tl.program_id(1) * columns_each + tl.arange(0, columns_each)
    pair = tl.program_id(1) * (columns_each // 2) + tl.arange(0, columns_each // 2)
    at = (row.to(tl.int64)[:, None] * inputs) // 2 + pair[None, :]
    mask = (row[:, None] < outputs) & (2 * pair[None, :] < inputs)
    both = tl.load(packed + at, mask=mask, other=0).to(tl.int32)
    of_block = scales_of(
        (2 * at) // blocksize, mask, absmax, nested_absmax, nested_code, offset, nested_blocksize, nested
    )
    high = tl.load(code + (both >> 4), mask=mask, other=0.0) * of_block
    low = tl.load(code + (both & 15), mask=mask, other=0.0) * of_block
    weight = tl.interleave(high, low)
    inner = tl.arange(0, ranks)
    b_mask = (row[:, None] < outputs) & (inner[None, :] < rank)
    a_mask = (inner[:, None] < rank) & (column[None, :] < inputs)
    b = tl.load(B + row[:, None] * rank + inner[None, :], mask=b_mask, other=0.0)
    a = tl.load(A + inner[:, None] * inputs + column[None, :], mask=a_mask, other=0.0)
    weight += scale * tl.dot(b, a, input_precision="ieee")
    place = row.to(tl.int64)[:, None] * inputs + column[None, :]
    inside = (row[:, None] < outputs) & (column[None, :] < inputs)
    tl.store(out + place, weight.to(out.dtype.element_ty), mask=inside)


def dequantise_4bit_plus(
    packed: Tensor,
    absmax: Tensor,
    code: Tensor,
    blocksize: int,
    shape: Sequence[int],
    dtype: torch.dtype,
    B: Tensor,
    A: Tensor,
    scale: float,
    nested_absmax: Tensor | None = None,
    nested_code: Tensor | None = None,
    offset: float = 0.0,
    nested_blocksize: int = 256,
) -> Tensor:
    """As ``reference.dequantise_4bit_plus``; the number of inputs is even."""
    outputs, inputs = shape
    out = torch.empty((outputs, inputs), dtype=dtype, device=packed.device)
    nested = nested_absmax is not None
    rank = A.shape[0]
    dequantise_4bit_plus_kernel[(triton.cdiv(outputs, ROWS), triton.cdiv(inputs, COLUMNS))](
        packed,
        absmax,
        code,
        nested_absmax if nested else absmax,
        nested_code if nested else code,
        B.contiguous(),
        A.contiguous(),
        out,
        outputs,
        inputs,
        rank,
        offset,
        scale,
        blocksize=blocksize,
        nested_blocksize=nested_blocksize,
        nested=nested,
        rows_each=ROWS,
        columns_each=COLUMNS,
        ranks=max(16, triton.next_power_of_2(rank)),
    )
    return out
