"""Floating point to the nearest of 256 values, over the largest magnitude of a block: the scales of four bits."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import reference
from .nearest import nearest, scaled_blocks

VALUES = 1024
"""Values for each program, where a block has not more."""


@triton.jit
def quantise_8bit_kernel(
    values, middles, codes, absmax, number, smallest, blocksize: tl.constexpr, blocks_each: tl.constexpr
):
    """Some blocks: a byte for each value, and the largest magnitudes."""
    block = tl.program_id(0).to(tl.int64) * blocks_each + tl.arange(0, blocks_each)
    place = block[:, None] * blocksize + tl.arange(0, blocksize)[None, :]
    scaled, largest = scaled_blocks(values, place, number, smallest)
    tl.store(absmax + block, largest, mask=block * blocksize < number)
    tl.store(codes + place, nearest(scaled, middles, 8).to(tl.uint8), mask=place < number)


def quantise_8bit(values: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    """As ``reference.quantise_8bit``."""
    if blocksize != triton.next_power_of_2(blocksize):
        return reference.quantise_8bit(values, code, blocksize)
    values = values.contiguous()
    number = values.numel()
    codes = torch.empty_like(values, dtype=torch.uint8)
    absmax = values.new_empty((triton.cdiv(number, blocksize),), dtype=torch.float32)
    _, middles = reference.boundaries(code)
    blocks = max(VALUES // blocksize, 1)
    quantise_8bit_kernel[(triton.cdiv(absmax.numel(), blocks),)](
        values,
        middles,
        codes,
        absmax,
        number,
        reference.SMALLEST,
        blocksize=blocksize,
        blocks_each=blocks,
        enable_fp_fusion=False,
    )
    return codes, absmax
