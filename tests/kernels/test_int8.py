"""Weights in eight bits, held against bitsandbytes."""

import bitsandbytes.functional as theirs
import pytest
import torch
from torch import Tensor

from inarch.kernels import Int8


def weight(dtype: torch.dtype) -> Tensor:
    return torch.randn(33, 70, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16], ids=str)
def test_it_is_what_bitsandbytes_makes(dtype: torch.dtype) -> None:
    w = weight(dtype)
    codes, scales, _ = theirs.int8_vectorwise_quant(w)
    ours = Int8.quantise(w)
    assert torch.equal(ours.weight, codes)
    assert torch.equal(ours.scales, scales)
    assert (ours.dequantise(torch.float32) - theirs.int8_vectorwise_dequant(codes, scales)).abs().max() <= 1e-6


def test_it_is_within_half_a_step() -> None:
    w = weight(torch.float64)
    step = w.abs().amax(dim=1, keepdim=True) / 127
    assert ((Int8.quantise(w).dequantise(torch.float64) - w).abs() <= 0.5 * step + 1e-6).all()


def test_a_row_of_zeros_stays_zero() -> None:
    w = weight(torch.float32)
    w[3] = 0
    assert torch.equal(Int8.quantise(w).dequantise()[3], torch.zeros(70))
