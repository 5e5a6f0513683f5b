"""The Triton kernels, run by Triton's interpreter and held against plain torch, and compiled for a Hopper GPU."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inarch.kernels import FourBit, Int8, reference

pytest.importorskip("triton")

SHAPES = [(64, 64), (96, 80), (33, 18), (1, 64), (5, 1000), (130, 300)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
KERNELS = ("dequantise_4bit", "dequantise_4bit_plus", "dequantise_int8")


def kernel(name: str) -> Callable[..., Tensor]:
    from importlib import import_module

    return getattr(import_module(f"inarch.kernels.triton.{name}"), name)  # type: ignore[no-any-return]


def weight(shape: tuple[int, int]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).mul(0.05)


def interpreted(expected: Tensor, dtype: torch.dtype) -> Tensor:
    """Float32 values in a dtype, as the interpreter casts them: unlike a GPU it cuts bfloat16 off instead of rounding."""
    if dtype != torch.bfloat16:
        return expected.to(dtype)
    return (expected.view(torch.int32) & -65536).view(torch.float32).to(dtype)


def nested(stored: FourBit) -> tuple[Any, ...]:
    own = stored.nested
    return (own.absmax, own.code, own.offset, own.blocksize) if own else ()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_are_dequantised_to_the_bit(kind: Any, double: bool, shape: tuple[int, int], dtype: Any) -> None:
    stored = FourBit.quantise(weight(shape), kind, double=double)
    found = kernel("dequantise_4bit")(
        stored.packed, stored.absmax, stored.code, stored.blocksize, shape, dtype, *nested(stored)
    )
    assert torch.equal(found, interpreted(stored.dequantise(torch.float32), dtype))


@pytest.mark.parametrize("rank", [1, 8, 20])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("double", [False, True])
def test_a_change_is_added_on_the_way(double: bool, shape: tuple[int, int], rank: int) -> None:
    stored = FourBit.quantise(weight(shape), double=double)
    generator = torch.Generator().manual_seed(0)
    B, A = (torch.randn(size, generator=generator) for size in ((shape[0], rank), (rank, shape[1])))
    found = kernel("dequantise_4bit_plus")(
        stored.packed, stored.absmax, stored.code, 64, shape, torch.float32, B, A, 0.5, *nested(stored)
    )
    expected = stored.dequantise(torch.float64) + 0.5 * B.double() @ A.double()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_eight_bits_are_dequantised_to_the_bit(shape: tuple[int, int], dtype: Any) -> None:
    stored = Int8.quantise(weight(shape))
    found = kernel("dequantise_int8")(stored.weight, stored.scales, dtype)
    expected = reference.dequantise_int8(stored.weight, stored.scales, torch.float32)
    assert torch.equal(found, interpreted(expected, dtype))


COMPILED = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from importlib import import_module
name, signature, constants, target = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3]), sys.argv[4]
function = getattr(import_module(f"inarch.kernels.triton.{name}"), f"{name}_kernel")
places = {(function.arg_names.index(key),): value for key, value in constants.items()}
source = ASTSource(function, signature | dict.fromkeys(constants, "constexpr"), places)
compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": False})
open(target, "w").write(compiled.asm["ptx"])
"""
FOUR = {"packed": "*u8", "absmax": "*u8", "code": "*fp32", "nested_absmax": "*fp32", "nested_code": "*fp32"}
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "dequantise_4bit": (
        FOUR | {"out": "*bf16", "number": "i64", "offset": "fp32"},
        {"blocksize": 64, "nested_blocksize": 256, "nested": True, "bytes_each": 1024},
    ),
    "dequantise_4bit_plus": (
        FOUR
        | {"B": "*bf16", "A": "*bf16", "out": "*bf16", "outputs": "i32", "inputs": "i32", "rank": "i32"}
        | {"offset": "fp32", "scale": "fp32"},
        {"blocksize": 64, "nested_blocksize": 256, "nested": True, "rows_each": 64, "columns_each": 64, "ranks": 16},
    ),
    "dequantise_int8": (
        {"weight": "*i8", "scales": "*fp32", "out": "*bf16", "number": "i64", "columns": "i32"},
        {"values_each": 2048},
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_compiles_for_hopper_without_spills(name: str, tmp_path: Path) -> None:
    import sys

    from triton.backends.nvidia.compiler import get_ptxas

    signature, constants = SIGNATURES[name]
    ptx = tmp_path / "kernel.ptx"
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", COMPILED, name, repr(signature), repr(constants), str(ptx)]
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    assembled = subprocess.run(
        [get_ptxas(90).path, "-v", "--gpu-name=sm_90a", str(ptx), "-o", str(tmp_path / "kernel.cubin")],
        check=True,
        capture_output=True,
        text=True,
    )
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", assembled.stderr)
    assert spilled is not None, assembled.stderr
    assert spilled.groups() == ("0", "0")
