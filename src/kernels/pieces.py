"""Weights written where there is no kernel, piece by piece: what is kept beside the result is small.

A piece is some rows that end with a block, in float32 until it is rounded.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from . import bitsandbytes_cpu, reference

PIECE = 1 << 21
"""Values at a time: 8 MiB in float32. With less, threads spend their time waiting for one another."""


def dequantise_4bit_into(
    packed: Tensor,
    absmax: Tensor,
    code: Tensor,
    blocksize: int,
    nested_absmax: Tensor | None,
    nested_code: Tensor | None,
    offset: float,
    nested_blocksize: int,
    out: Tensor,
) -> None:
    """As ``reference.dequantise_4bit``, of scales that may be quantised themselves."""
    scales = reference.block_scales(absmax, nested_absmax, nested_code, offset, nested_blocksize)
    _dequantise_4bit(packed.reshape(-1), scales, code, blocksize, out)


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
    """As ``reference.dequantise_4bit_plus``, likewise."""
    packed = packed.reshape(-1)
    scales = reference.block_scales(absmax, nested_absmax, nested_code, offset, nested_blocksize)
    B, A = B.float(), A.float()
    inputs = out.shape[1]
    for rows, values in _pieces(out, blocksize // math.gcd(blocksize, inputs)):
        first, last = rows.start * inputs, rows.stop * inputs
        of_piece = scales[first // blocksize : -(-last // blocksize)]
        _dequantise_4bit(packed[first // 2 : -(-last // 2)], of_piece, code, blocksize, values)
        values.addmm_(B[rows], A)


def dequantise_int8_into(weight: Tensor, scales: Tensor, out: Tensor) -> None:
    """As ``reference.dequantise_int8``."""
    steps = (scales / 127).unsqueeze(1)
    for rows, values in _pieces(out):
        values.copy_(weight[rows]).mul_(steps[rows])


def dequantise_int8_plus_into(weight: Tensor, scales: Tensor, B: Tensor, A: Tensor, out: Tensor) -> None:
    """As ``reference.dequantise_int8_plus``."""
    B, A = B.float(), A.float()
    steps = (scales / 127).unsqueeze(1)
    for rows, values in _pieces(out):
        values.copy_(weight[rows]).mul_(steps[rows]).addmm_(B[rows], A)


QUANTISED = 1 << 18
"""Values to quantise at a time, which takes several tensors of their size: 1 MiB each in float32."""


def quantise_4bit(weight: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    """As ``reference.quantise_4bit``."""
    flat = weight.reshape(-1)
    packed = weight.new_empty(((flat.numel() + 1) // 2, 1), dtype=torch.uint8)
    absmax = weight.new_empty((-(-flat.numel() // blocksize),), dtype=torch.float32)
    each = max(QUANTISED // blocksize, 1) * blocksize
    for first in range(0, flat.numel(), each):
        last = min(first + each, flat.numel())
        blocks = slice(first // blocksize, -(-last // blocksize))
        packed[first // 2 : -(-last // 2)], absmax[blocks] = reference.quantise_4bit(flat[first:last], code, blocksize)
    return packed, absmax


def quantise_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.quantise_int8``."""
    codes, scales = torch.empty_like(weight, dtype=torch.int8), weight.new_empty(weight.shape[:1], dtype=torch.float32)
    each = max(QUANTISED // max(weight.shape[1], 1), 1)
    for first in range(0, weight.shape[0], each):
        rows = slice(first, first + each)
        codes[rows], scales[rows] = reference.quantise_int8(weight[rows])
    return codes, scales


def _dequantise_4bit(packed: Tensor, scales: Tensor, code: Tensor, blocksize: int, out: Tensor) -> None:
    """Bytes and scales of ``out``'s values alone, which begin with a block."""
    done = bitsandbytes_cpu.dequantise_4bit(packed, scales, code, blocksize, out)
    flat = out.view(-1)
    each = max(PIECE // blocksize, 1) * blocksize
    for first in range(done, flat.numel(), each):
        values = flat[first : first + each]
        last = first + values.numel()
        of_piece = scales[first // blocksize : -(-last // blocksize)]
        half = packed[first // 2 : -(-last // 2)]
        values.copy_(reference.dequantise_4bit(half, of_piece, code, blocksize, values.shape, out.dtype))


def _pieces(out: Tensor, unit: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Rows of ``out``, a multiple of ``unit`` at a time, each with a float32 tensor to put their values into."""
    number, columns = out.shape
    each = min(max(PIECE // max(columns, 1) // unit, 1) * unit, number)
    exact = out.dtype == torch.float32
    scratch = out if exact else out.new_empty((each, columns), dtype=torch.float32)
    for first in range(0, number, max(each, 1)):
        rows = slice(first, min(first + each, number))
        values = scratch[rows] if exact else scratch[: rows.stop - rows.start]
        yield rows, values
        if not exact:
            out[rows].copy_(values)
