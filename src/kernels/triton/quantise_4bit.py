"""Floating point to four bits: the nearest of sixteen values to each over the largest magnitude of its block."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .. import reference
from .nearest import nearest, scaled_blocks

VALUES = 2048
"""Values for each program, where a block has not more."""


@triton.jit
def quantise_4bit_kernel(
    weight,
    middles,
    order,
    packed,
    absmax,
    number,
    smallest,
    blocksize: tl.constexpr,
    blocks_each: tl.constexpr,
):
    """Some blocks: two codes a byte, the first in the high four bits, and the largest magnitudes."""
    block = tl.program_id(0).to(tl.int64) * blocks_each + tl.arange(0, blocks_each)
    place = block[:, None] * blocksize + tl.arange(0, blocksize)[None, :]
    scaled, largest = scaled_blocks(weight, place, number, smallest)
    tl.store(absmax + block, largest, mask=block * blocksize < number)
    codes = tl.load(order + nearest(scaled, middles, 4)).to(tl.int32)
    high, low = tl.split(tl.reshape(codes, (blocks_each, blocksize // 2, 2)))
    byte = block[:, None] * (blocksize // 2) + tl.arange(0, blocksize // 2)[None, :]
    tl.store(packed + byte, ((high << 4) | low).to(tl.uint8), mask=2 * byte < number)


def quantise_4bit(weight: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    """As ``reference.quantise_4bit``."""
    if blocksize != triton.next_power_of_2(blocksize):
        return reference.quantise_4bit(weight, code, blocksize)
    weight = weight.contiguous()
    number = weight.numel()
    packed = weight.new_empty((triton.cdiv(number, 2), 1), dtype=torch.uint8)
    absmax = weight.new_empty((triton.cdiv(number, blocksize),), dtype=torch.float32)
    order, middles = reference.boundaries(code)
    blocks = max(VALUES // blocksize, 1)
    quantise_4bit_kernel[(triton.cdiv(absmax.numel(), blocks),)](
        weight,
        middles,
        order,
        packed,
        absmax,
        number,
        reference.SMALLEST,
        blocksize=blocksize,
        blocks_each=blocks,
        enable_fp_fusion=False,
    )
    return packed, absmax
