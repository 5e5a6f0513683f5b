"""A tile of ``B A``, shared by the kernels that add a low-rank change to a weight."""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS = 64, 64
"""Outputs and inputs for each program."""


@triton.jit
def low_rank(
    B,
    A,
    row,
    column,
    outputs,
    inputs,
    rank,
    rows_each: tl.constexpr,
    columns_each: tl.constexpr,
    ranks: tl.constexpr,
):
    """``sum_r B[row, r] A[r, column]`` in float32, ``ranks`` of the rank at a time so that registers suffice.

    In half precision the products are exact in float32, and tensor cores take them; others are made in float32.
    """
    total = tl.zeros((rows_each, columns_each), dtype=tl.float32)
    for start in range(0, rank, ranks):
        inner = start + tl.arange(0, ranks)
        b_mask = (row[:, None] < outputs) & (inner[None, :] < rank)
        a_mask = (inner[:, None] < rank) & (column[None, :] < inputs)
        b = tl.load(B + row[:, None] * rank + inner[None, :], mask=b_mask, other=0.0)
        a = tl.load(A + inner[:, None] * inputs + column[None, :], mask=a_mask, other=0.0)
        total = tl.dot(b, a, total, input_precision="ieee")
    return total


def factors(B: Tensor, A: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Both contiguous and of one dtype, and whether that is of half precision; otherwise it is float32."""
    half = B.dtype == A.dtype and B.dtype in (torch.bfloat16, torch.float16)
    if not half:
        B, A = B.float(), A.float()
    return B.contiguous(), A.contiguous(), half


def ranks_at_a_time(rank: int, half: bool) -> int:
    """What a product of tiles takes at once: 16 at least, and in float32, without tensor cores, no more."""
    return min(max(16, triton.next_power_of_2(rank)), 64) if half else 16
