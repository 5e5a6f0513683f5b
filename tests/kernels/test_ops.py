"""The operations as the dispatcher and compilers see them."""

from typing import Any

import pytest
import torch

from inarch.kernels import CODEBOOKS, DYNAMIC, FourBit, Int8, ops

W = torch.randn(33, 17, generator=torch.Generator().manual_seed(0))
FOUR, DOUBLE, EIGHT = FourBit.quantise(W, double=False), FourBit.quantise(W), Int8.quantise(W)
assert DOUBLE.nested is not None


def arguments(weight: FourBit, dtype: torch.dtype) -> tuple[Any, ...]:
    return weight.packed, weight.absmax, weight.code, 64, [33, 17], dtype


CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "dequantise_4bit": (
        ops.dequantise_4bit,
        arguments(FOUR, torch.bfloat16),
    ),
    "dequantise_4bit, double": (
        ops.dequantise_4bit,
        (*arguments(DOUBLE, torch.float32), DOUBLE.nested.absmax, DYNAMIC, DOUBLE.nested.offset, 256),
    ),
    "dequantise_4bit_plus": (
        ops.dequantise_4bit_plus,
        (*arguments(FOUR, torch.float32), torch.randn(33, 4), torch.randn(4, 17), 0.5),
    ),
    "quantise_4bit": (ops.quantise_4bit, (W, CODEBOOKS["nf4"], 64)),
    "dequantise_int8": (ops.dequantise_int8, (EIGHT.weight, EIGHT.scales, torch.float32)),
    "quantise_int8": (ops.quantise_int8, (W,)),
}


@pytest.mark.parametrize("name", CALLS)
def test_schema_fake_and_implementation_agree(name: str) -> None:
    torch.library.opcheck(*CALLS[name])
