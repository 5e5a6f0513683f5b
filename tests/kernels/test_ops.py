"""The operations as the dispatcher and compilers see them."""

from typing import Any

import pytest
import torch

from inarch.kernels import CODEBOOKS, DYNAMIC, FourBit, Int8, ops

W = torch.randn(33, 17, generator=torch.Generator().manual_seed(0))
FOUR, DOUBLE, EIGHT = FourBit.quantise(W, double=False), FourBit.quantise(W), Int8.quantise(W)
B, A = torch.ones(33, 4), torch.ones(4, 17)
INT8 = EIGHT.weight, EIGHT.scales

CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "dequantise_4bit": (ops.dequantise_4bit, (*FOUR._operands(), [33, 17], torch.bfloat16)),
    "dequantise_4bit, double": (ops.dequantise_4bit, (*DOUBLE._operands(), [33, 17], torch.float32)),
    "dequantise_4bit_into": (ops.dequantise_4bit_into, (*DOUBLE._operands(), torch.empty(33, 17))),
    "dequantise_4bit_plus": (ops.dequantise_4bit_plus, (*FOUR._operands(), B, A, torch.float32)),
    "dequantise_4bit_plus_into": (ops.dequantise_4bit_plus_into, (*DOUBLE._operands(), B, A, torch.empty(33, 17))),
    "dequantise_int8": (ops.dequantise_int8, (*INT8, torch.float32)),
    "dequantise_int8_into": (ops.dequantise_int8_into, (*INT8, torch.empty(33, 17, dtype=torch.float16))),
    "dequantise_int8_plus": (ops.dequantise_int8_plus, (*INT8, B, A, torch.bfloat16)),
    "dequantise_int8_plus_into": (ops.dequantise_int8_plus_into, (*INT8, B, A, torch.empty(33, 17))),
    "quantise_4bit": (ops.quantise_4bit, (W, CODEBOOKS["nf4"], 64)),
    "quantise_8bit": (ops.quantise_8bit, (W.flatten(), DYNAMIC, 256)),
    "quantise_int8": (ops.quantise_int8, (W,)),
    "quantise_fp8": (ops.quantise_fp8, (W,)),
    "requantise_4bit_fp8": (ops.requantise_4bit_fp8, (*DOUBLE._operands(), [33, 17])),
}


@pytest.mark.parametrize("name", CALLS)
def test_schema_fake_and_implementation_agree(name: str) -> None:
    torch.library.opcheck(*CALLS[name])


def test_every_operation_is_checked() -> None:
    defined = {name for name, value in vars(ops).items() if isinstance(value, torch._ops.OpOverload)}
    assert {name.partition(",")[0] for name in CALLS} == defined


def test_compiled_code_writes_into_a_tensor() -> None:
    def written(out: torch.Tensor) -> torch.Tensor:
        return DOUBLE.dequantise(out=out) + 1

    out = torch.empty(33, 17)
    found = torch.compile(written, backend="aot_eager", fullgraph=True)(out)
    assert torch.equal(out, DOUBLE.dequantise())
    assert torch.equal(found, DOUBLE.dequantise() + 1)
