"""Eight bits to floating point with a low-rank change added on the way: ``W + B A``, without W alone in memory."""

import triton
import triton.language as tl
from torch import Tensor

from .low_rank import COLUMNS, ROWS, factors, low_rank, ranks_at_a_time


@triton.jit
def dequantise_int8_plus_kernel(
    weight,
    scales,
    B,
    A,
    out,
    outputs,
    inputs,
    rank,
    rows_each: tl.constexpr,
    columns_each: tl.constexpr,
    ranks: tl.constexpr,
):
    """One tile of ``W + B A``."""
    row = tl.program_id(0) * rows_each + tl.arange(0, rows_each)
    column = tl.program_id(1) * columns_each + tl.arange(0, columns_each)
    change = low_rank(B, A, row, column, outputs, inputs, rank, rows_each, columns_each, ranks)
    step = tl.div_rn(tl.load(scales + row, mask=row < outputs, other=0.0), 127.0)
    place = row.to(tl.int64)[:, None] * inputs + column[None, :]
    inside = (row[:, None] < outputs) & (column[None, :] < inputs)
    value = tl.load(weight + place, mask=inside, other=0).to(tl.float32) * step[:, None]
    tl.store(out + place, (value + change).to(out.dtype.element_ty), mask=inside)


def dequantise_int8_plus_into(weight: Tensor, scales: Tensor, B: Tensor, A: Tensor, out: Tensor) -> None:
    """As ``reference.dequantise_int8_plus``."""
    outputs, inputs = out.shape
    B, A, half = factors(B, A)
    rank = A.shape[0]
    dequantise_int8_plus_kernel[(triton.cdiv(outputs, ROWS), triton.cdiv(inputs, COLUMNS))](
        weight.contiguous(),
        scales,
        B,
        A,
        out,
        outputs,
        inputs,
        rank,
        rows_each=ROWS,
        columns_each=COLUMNS,
        ranks=ranks_at_a_time(rank, half),
        enable_fp_fusion=False,
    )
