"""Four bits to floating point with a low-rank change added on the way: ``W + B A``, without W alone in memory.

The change is added to the dequantised values while they are in registers, so that the matrix product that follows
carries the adapter's path for nothing: per token there is no second product.
"""

import triton
import triton.language as tl
from torch import Tensor

from .dequantise_4bit import scales_of
from .low_rank import COLUMNS, ROWS, factors, low_rank, ranks_at_a_time


@triton.jit
def values_of(
    packed,
    absmax,
    code,
    nested_absmax,
    nested_code,
    offset,
    place,
    mask,
    blocksize: tl.constexpr,
    nested_blocksize: tl.constexpr,
    nested: tl.constexpr,
):
    """The values at any places of the flattened weight, float32."""
    pair = tl.load(packed + place // 2, mask=mask, other=0).to(tl.int32)
    four = tl.where(place % 2 == 0, pair >> 4, pair & 15)
    of_block = scales_of(place // blocksize, mask, absmax, nested_absmax, nested_code, offset, nested_blocksize, nested)
    return tl.load(code + four, mask=mask, other=0.0) * of_block


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
    blocksize: tl.constexpr,
    nested_blocksize: tl.constexpr,
    nested: tl.constexpr,
    even: tl.constexpr,
    aligned: tl.constexpr,
    rows_each: tl.constexpr,
    columns_each: tl.constexpr,
    ranks: tl.constexpr,
):
    """One tile of ``W + B A``.

    ``even``: no byte holds values of two rows. ``aligned``: the part of a row that is in a tile lies in one block.
    """
    row = tl.program_id(0) * rows_each + tl.arange(0, rows_each)
    column = tl.program_id(1) * columns_each + tl.arange(0, columns_each)
    change = low_rank(B, A, row, column, outputs, inputs, rank, rows_each, columns_each, ranks)
    begin = row.to(tl.int64) * inputs
    place = begin[:, None] + column[None, :]
    inside = (row[:, None] < outputs) & (column[None, :] < inputs)
    if even:
        pair = tl.program_id(1) * (columns_each // 2) + tl.arange(0, columns_each // 2)
        at = begin[:, None] // 2 + pair[None, :]
        mask = (row[:, None] < outputs) & (2 * pair[None, :] < inputs)
        both = tl.load(packed + at, mask=mask, other=0).to(tl.int32)
        if aligned:
            block = (begin + tl.program_id(1) * columns_each) // blocksize
            of_block = scales_of(
                block, row < outputs, absmax, nested_absmax, nested_code, offset, nested_blocksize, nested
            )[:, None]
        else:
            of_block = scales_of(
                (2 * at) // blocksize, mask, absmax, nested_absmax, nested_code, offset, nested_blocksize, nested
            )
        high = tl.load(code + (both >> 4), mask=mask, other=0.0) * of_block
        low = tl.load(code + (both & 15), mask=mask, other=0.0) * of_block
        weight = tl.interleave(high, low)
    else:
        weight = values_of(
            packed,
            absmax,
            code,
            nested_absmax,
            nested_code,
            offset,
            place,
            inside,
            blocksize,
            nested_blocksize,
            nested,
        )
    tl.store(out + place, (weight + change).to(out.dtype.element_ty), mask=inside)


def dequantise_4bit_plus_into(
    packed: Tensor,
    absmax: Tensor,
    code: Tensor,
    blocksize: int,
    nested_absmax: Tensor | None,
    nested_code: Tensor | None,
    offset: float,
    nested_blocksize: int,
    B: Tensor,
    A: Tensor,
    out: Tensor,
) -> None:
    """As ``reference.dequantise_4bit_plus``, of scales that may be quantised themselves."""
    outputs, inputs = out.shape
    nested = nested_absmax is not None
    B, A, half = factors(B, A)
    rank = A.shape[0]
    dequantise_4bit_plus_kernel[(triton.cdiv(outputs, ROWS), triton.cdiv(inputs, COLUMNS))](
        packed,
        absmax,
        code,
        nested_absmax if nested else absmax,
        nested_code if nested else code,
        B,
        A,
        out,
        outputs,
        inputs,
        rank,
        offset,
        blocksize=blocksize,
        nested_blocksize=nested_blocksize,
        nested=nested,
        even=inputs % 2 == 0,
        aligned=inputs % blocksize == 0 and blocksize % COLUMNS == 0,
        rows_each=ROWS,
        columns_each=COLUMNS,
        ranks=ranks_at_a_time(rank, half),
        num_warps=4 if inputs % 2 == 0 else 8,  # a place for each value, not for two, takes more registers
        enable_fp_fusion=False,
    )
