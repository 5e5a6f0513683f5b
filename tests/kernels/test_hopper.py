"""The Triton kernels compiled ahead of time for a Hopper GPU: none needs more registers than there are."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

COMPILED = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from importlib import import_module
from pathlib import Path
for case, (name, signature, constants) in eval(sys.argv[1]).items():
    function = getattr(import_module(f"inarch.kernels.triton.{name}"), f"{name}_kernel")
    places = {(function.arg_names.index(key),): value for key, value in constants.items()}
    source = ASTSource(function, signature | dict.fromkeys(constants, "constexpr"), places)
    options = {"enable_fp_fusion": False, "num_warps": 8 if case.endswith("odd") else 4}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    (Path(sys.argv[2]) / f"{case}.ptx").write_text(compiled.asm["ptx"])
"""

Arguments = tuple[dict[str, str], dict[str, Any]]
FOUR = {"packed": "*u8", "absmax": "*u8", "code": "*fp32", "nested_absmax": "*fp32", "nested_code": "*fp32"}
BLOCKS = {"blocksize": 64, "nested_blocksize": 256, "nested": True}
SIZES = {"outputs": "i32", "inputs": "i32", "rank": "i32"}
SIGNATURES: dict[str, Arguments] = {
    "dequantise_4bit": (
        FOUR | {"out": "*bf16", "number": "i64", "offset": "fp32"},
        BLOCKS | {"bytes_each": 1024},
    ),
    "dequantise_int8": (
        {"weight": "*i8", "scales": "*fp32", "out": "*bf16", "number": "i64", "columns": "i32"},
        {"values_each": 2048},
    ),
    "quantise_4bit": (
        {"weight": "*bf16", "middles": "*fp32", "order": "*i64", "packed": "*u8", "absmax": "*fp32", "number": "i64"}
        | {"smallest": "fp32"},
        {"blocksize": 64, "blocks_each": 32},
    ),
    "quantise_8bit": (
        {"values": "*fp32", "middles": "*fp32", "codes": "*u8", "absmax": "*fp32", "number": "i64", "smallest": "fp32"},
        {"blocksize": 256, "blocks_each": 4},
    ),
    "quantise_int8": (
        {"weight": "*bf16", "codes": "*i8", "scales": "*fp32", "columns": "i32", "smallest": "fp32"}
        | {"to_integer": "fp32"},
        {"values_each": 1024},
    ),
    "quantise_fp8": (
        {"weight": "*bf16", "codes": "*fp8e4nv", "scales": "*fp32", "columns": "i32", "smallest": "fp32"}
        | {"limit": "fp32"},
        {"values_each": 1024},
    ),
    "requantise_4bit_fp8": (
        FOUR
        | {"codes": "*fp8e4nv", "scales": "*fp32", "columns": "i32", "offset": "fp32", "smallest": "fp32"}
        | {"limit": "fp32"},
        BLOCKS | {"values_each": 1024},
    ),
}


RANKS = (16, 64, 128, 256)


def low_rank(rank: int, half: bool) -> Arguments:
    """What the kernels that add a change take, as they are started."""
    tiles = import_module("inarch.kernels.triton.low_rank")
    dtype = "*bf16" if half else "*fp32"
    constants = {"rows_each": tiles.ROWS, "columns_each": tiles.COLUMNS}
    return {"B": dtype, "A": dtype, "out": "*bf16"} | SIZES, constants | {"ranks": tiles.ranks_at_a_time(rank, half)}


def cases() -> dict[str, tuple[str, dict[str, str], dict[str, Any]]]:
    """The kernel, the types of its arguments and its constants, by the name of the case."""
    found = {name: (name, *arguments) for name, arguments in SIGNATURES.items()}
    for half in (True, False):
        for rank in RANKS:
            signature, constants = low_rank(rank, half)
            eight = {"weight": "*i8", "scales": "*fp32"} | signature
            found[f"dequantise_int8_plus-{rank}-{half}"] = ("dequantise_int8_plus", eight, constants)
            for aligned in (True, False):
                own = constants | BLOCKS | {"even": True, "aligned": aligned}
                four = FOUR | signature | {"offset": "fp32"}
                found[f"dequantise_4bit_plus-{rank}-{half}-{aligned}"] = ("dequantise_4bit_plus", four, own)
    signature, constants = low_rank(16, True)
    odd = constants | BLOCKS | {"even": False, "aligned": False}
    found["dequantise_4bit_plus-odd"] = ("dequantise_4bit_plus", FOUR | signature | {"offset": "fp32"}, odd)
    return found


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of every case in PTX, made by a process of its own: here Triton is an interpreter."""
    folder = tmp_path_factory.mktemp("assembly")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", COMPILED, repr(cases()), str(folder)]
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return folder


@pytest.mark.parametrize("case", cases())
def test_it_needs_no_more_registers_than_there_are(case: str, assembly: Path, tmp_path: Path) -> None:
    """No bytes are written to memory and read back for want of them, as ptxas counts."""
    from triton.backends.nvidia.compiler import get_ptxas

    assembled = subprocess.run(
        [get_ptxas(90).path, "-v", "--gpu-name=sm_90a", f"{assembly / case}.ptx", "-o", str(tmp_path / "kernel.cubin")],
        check=True,
        capture_output=True,
        text=True,
    )
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", assembled.stderr)
    assert spilled is not None, assembled.stderr
    assert spilled.groups() == ("0", "0")
