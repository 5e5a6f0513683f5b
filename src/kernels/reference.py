"""Every operation in plain torch: what the kernels are held against, and what runs where there is none."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-38
"""The scale of a block of zeros, so that nothing is divided by zero; bitsandbytes' as well."""

SMALLEST_ROW = 1e-30
"""What the largest magnitude of a row counts as at least: 127 or 448 over it is finite."""


def block_scales(
    absmax: Tensor, nested_absmax: Tensor | None, nested_code: Tensor | None, offset: float, nested_blocksize: int
) -> Tensor:
    """The scale of each block, float32: ``absmax``, or what it stands for where it is quantised itself."""
    if nested_absmax is None or nested_code is None:
        return absmax.float()
    number = absmax.numel()
    values = functional.pad(nested_code.index_select(0, absmax.reshape(-1).int()), (0, -number % nested_blocksize))
    blocks = values.view(-1, nested_blocksize).mul_(nested_absmax.view(-1, 1))
    return blocks.view(-1)[:number].add_(offset)


def dequantise_4bit(
    packed: Tensor, scales: Tensor, code: Tensor, blocksize: int, shape: Sequence[int], dtype: torch.dtype
) -> Tensor:
    """``code[nibble] * scale of its block``, computed in float32 and rounded once.

    Args:
        packed: uint8, two values a byte, the first in the high four bits.
        scales: float32, one for each block of ``blocksize`` values, in the order of the flattened weight.
        code: float32, the sixteen values.
        blocksize: Values that share a scale.
        shape: Of the weight.
        dtype: Of the result.
    """
    number = 1
    for size in shape:
        number *= size
    pairs = torch.stack([code.repeat_interleave(16), code.repeat(16)], dim=1)  # by byte: high and low value
    values = functional.embedding(packed.reshape(-1).int(), pairs).reshape(-1)[:number]
    padding = -number % blocksize
    blocks = functional.pad(values, (0, padding)).view(-1, blocksize) * scales.view(-1, 1)
    return blocks.reshape(-1)[:number].view(tuple(shape)).to(dtype)


def dequantise_4bit_plus(
    packed: Tensor,
    scales: Tensor,
    code: Tensor,
    blocksize: int,
    shape: Sequence[int],
    dtype: torch.dtype,
    B: Tensor,
    A: Tensor,
) -> Tensor:
    """``W + B A``, added in float32 and rounded once; B is (out_features, rank), A (rank, in_features)."""
    weight = dequantise_4bit(packed, scales, code, blocksize, shape, torch.float32)
    return torch.addmm(weight, B.float(), A.float()).to(dtype)


def boundaries(code: Tensor) -> tuple[Tensor, Tensor]:
    """The order in which the values ascend, and the middles between neighbours: where the nearest value changes."""
    order = torch.argsort(code)
    values = code[order]
    return order, (values[:-1] + values[1:]) / 2


def quantise_4bit(weight: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    """The nearest code to each value over the largest magnitude of its block, and those magnitudes.

    Returns:
        ``packed`` (bytes, 1) in uint8, and ``absmax`` (blocks,) in float32.
    """
    scaled, absmax = _scaled(weight, blocksize)
    scaled = functional.pad(scaled, (0, scaled.numel() % 2))
    order, middles = boundaries(code)
    codes = order[torch.bucketize(scaled, middles, out_int32=True)].to(torch.uint8)
    return ((codes[::2] << 4) | codes[1::2]).unsqueeze(1), absmax


def quantise_8bit(values: Tensor, code: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    """As ``quantise_4bit`` with 256 ascending values, one byte each."""
    scaled, absmax = _scaled(values, blocksize)
    _, middles = boundaries(code)
    return torch.bucketize(scaled, middles, out_int32=True).to(torch.uint8).view(values.shape), absmax


def dequantise_int8(weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight * scale of its row / 127``, computed in float32 and rounded once.

    Args:
        weight: int8, shape (out_features, in_features).
        scales: float32, the largest magnitude of each row.
        dtype: Of the result.
    """
    return (weight * (scales / 127).unsqueeze(1)).to(dtype)


def dequantise_int8_plus(weight: Tensor, scales: Tensor, dtype: torch.dtype, B: Tensor, A: Tensor) -> Tensor:
    """``W + B A``, added in float32 and rounded once; B is (out_features, rank), A (rank, in_features)."""
    return torch.addmm(dequantise_int8(weight, scales, torch.float32), B.float(), A.float()).to(dtype)


def quantise_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Each row over its largest magnitude, in 127ths, rounded to the nearest: the codes and the magnitudes."""
    values = weight.float()
    scales = values.abs().amax(dim=1)
    steps = 127.0 / scales.clamp(min=SMALLEST_ROW)
    return torch.round(values * steps.unsqueeze(1)).to(torch.int8), scales


def _scaled(weight: Tensor, blocksize: int) -> tuple[Tensor, Tensor]:
    """The flattened values over the largest magnitude of their block, and those magnitudes."""
    flat = weight.reshape(-1).float()
    blocks = functional.pad(flat, (0, -flat.numel() % blocksize)).view(-1, blocksize)
    absmax = blocks.abs().amax(dim=1)
    scaled = torch.clamp(blocks * (1.0 / absmax.clamp(min=SMALLEST)).unsqueeze(1), -1, 1)
    return scaled.reshape(-1)[: flat.numel()], absmax
