"""The Triton kernels, run by Triton's interpreter and held against plain torch."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from inarch.kernels import CODEBOOKS, DYNAMIC, FourBit, Int8, fp8, reference

pytest.importorskip("triton")

SHAPES = [(33, 18), (1, 64), (5, 1000), (3, 128), (33, 17), (70, 129)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def kernel(name: str) -> Callable[..., Any]:
    module = import_module(f"inarch.kernels.triton.{name.removesuffix('_into')}")
    return getattr(module, name)  # type: ignore[no-any-return]


def weight(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).mul(0.05)


def low_rank(shape: tuple[int, int], rank: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    B, A = (torch.randn(size, generator=generator).to(dtype) for size in ((shape[0], rank), (rank, shape[1])))
    return B, A


@pytest.fixture(autouse=True)
def _arithmetic_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Casts to bfloat16 and e4m3, and products of bfloat16, as a GPU makes them.

    Triton's interpreter cuts bfloat16 off, loses the carry where a mantissa of e4m3 is rounded up, and multiplies the
    bits of bfloat16 as if they were integers; torch stands in for it there.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    converted, multiplied = interpreter._convert_float, interpreter.InterpreterBuilder.create_dot
    narrow = {tl.bfloat16: (torch.bfloat16, torch.int16), tl.float8e4nv: (torch.float8_e4m3fn, torch.uint8)}

    def convert(values: Any, source: Any, target: Any, rounding: Any) -> Any:
        if source != tl.float32 or target not in narrow:
            return converted(values, source, target, rounding)
        dtype, bits = narrow[target]
        rounded = torch.from_numpy(values.copy().view("float32")).to(dtype).view(bits).numpy()
        return rounded.view("uint16") if bits == torch.int16 else rounded

    def multiply(self: Any, a: Any, b: Any, *others: Any) -> Any:
        if a.dtype.scalar == tl.bfloat16:
            a, b = (self.cast_impl(side, tl.float32) for side in (a, b))  # products of these are exact in float32
        return multiplied(self, a, b, *others)

    monkeypatch.setattr(interpreter, "_convert_float", convert)
    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", multiply)


def written(name: str, operands: tuple[Any, ...], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """What a kernel writes into a tensor of its own."""
    out = torch.full(shape, float("nan"), dtype=dtype)
    kernel(name)(*operands, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_are_dequantised_to_the_bit(kind: Any, double: bool, shape: tuple[int, int], dtype: Any) -> None:
    stored = FourBit.quantise(weight(shape), kind, double=double)
    found = written("dequantise_4bit_into", stored._operands(), shape, dtype)
    assert torch.equal(found, stored.dequantise(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_eight_bits_are_dequantised_to_the_bit(shape: tuple[int, int], dtype: Any) -> None:
    stored = Int8.quantise(weight(shape))
    found = written("dequantise_int8_into", (stored.weight, stored.scales), shape, dtype)
    assert torch.equal(found, reference.dequantise_int8(stored.weight, stored.scales, dtype))


def assert_is_sum(found: Tensor, base: Tensor, B: Tensor, A: Tensor) -> None:
    """Of float32: ``rank`` products and as many additions, each rounded by 2^-24 of what it comes to at most."""
    expected = base.double() + B.double() @ A.double()
    magnitude = base.double().abs() + B.double().abs() @ A.double().abs()
    assert ((found.double() - expected).abs() <= 2 * (A.shape[0] + 1) * 2**-24 * magnitude).all()


@pytest.mark.parametrize("factors", DTYPES, ids=str)
@pytest.mark.parametrize("rank", [1, 20])
@pytest.mark.parametrize("shape", [(64, 64), (33, 18), (3, 128), (33, 17), (70, 129), (5, 200)], ids=str)
def test_a_change_is_added_on_the_way(shape: tuple[int, int], rank: int, factors: torch.dtype) -> None:
    B, A = low_rank(shape, rank, factors)
    for double in (False, True):
        four = FourBit.quantise(weight(shape), double=double)
        found = written("dequantise_4bit_plus_into", (*four._operands(), B, A), shape, torch.float32)
        assert_is_sum(found, four.dequantise(torch.float32), B, A)
    eight = Int8.quantise(weight(shape))
    found = written("dequantise_int8_plus_into", (eight.weight, eight.scales, B, A), shape, torch.float32)
    assert_is_sum(found, eight.dequantise(torch.float32), B, A)


@pytest.mark.parametrize("rank", [64, 256])
@pytest.mark.parametrize("blocksize", [32, 64, 128])
def test_ranks_of_many_tiles_and_blocks_of_other_sizes(blocksize: int, rank: int) -> None:
    shape = (70, 256)
    four = FourBit.quantise(weight(shape), blocksize=blocksize)
    for dtype in (torch.float32, torch.bfloat16):
        B, A = low_rank(shape, rank, dtype)
        found = written("dequantise_4bit_plus_into", (*four._operands(), B, A), shape, torch.float32)
        assert_is_sum(found, four.dequantise(torch.float32), B, A)


@pytest.mark.parametrize(("blocksize", "dtype"), [(64, torch.float32), (32, torch.bfloat16), (48, torch.float16)])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1)], ids=str)
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_are_quantised_to_the_bit(kind: str, shape: tuple[int, int], blocksize: int, dtype: Any) -> None:
    w = weight(shape).to(dtype)
    w[:1] = 0
    found = kernel("quantise_4bit")(w, CODEBOOKS[kind], blocksize)
    for one, other in zip(found, reference.quantise_4bit(w, CODEBOOKS[kind], blocksize), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("number", [1, 255, 256, 1000, 5000])
def test_scales_are_quantised_to_the_bit(number: int) -> None:
    scales = weight((number,))
    found = kernel("quantise_8bit")(scales, DYNAMIC, 256)
    for one, other in zip(found, reference.quantise_8bit(scales, DYNAMIC, 256), strict=True):
        assert torch.equal(one, other)


def test_a_value_in_the_middle_of_two_codes_gets_the_lower_in_both() -> None:
    code = CODEBOOKS["nf4"]
    _, middles = reference.boundaries(code)
    block = torch.cat([torch.tensor([1.0]), middles, torch.zeros(48)]).view(1, 64)
    packed, _ = kernel("quantise_4bit")(block, code, 64)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[1:16]
    assert codes.tolist() == list(range(15))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 2500)], ids=str)
def test_eight_bits_are_quantised_to_the_bit(shape: tuple[int, int], dtype: Any) -> None:
    w = weight(shape).to(dtype)
    w[:1] = 0
    for one, other in zip(kernel("quantise_int8")(w), reference.quantise_int8(w), strict=True):
        assert torch.equal(one, other)


def test_halves_are_rounded_to_even() -> None:
    w = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]])
    assert kernel("quantise_int8")(w)[0].tolist() == [[127, 0, 2, 2, 0, -2, -2]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 2500)], ids=str)
def test_fp8_is_the_reference_to_the_bit(shape: tuple[int, int], dtype: Any) -> None:
    w = weight(shape).to(dtype)
    w[:1] = 0
    codes, scales = kernel("quantise_fp8")(w)
    expected, expected_scales = fp8.quantise_fp8(w)
    assert torch.equal(scales, expected_scales)
    assert torch.equal(codes.float(), expected.float())


@pytest.mark.parametrize("shape", [*SHAPES, (3, 2500)], ids=str)
@pytest.mark.parametrize("double", [False, True])
def test_four_bits_go_to_fp8_to_the_bit(double: bool, shape: tuple[int, int]) -> None:
    stored = FourBit.quantise(weight(shape), double=double)
    codes, scales = kernel("requantise_4bit_fp8")(*stored._operands(), shape)
    expected, expected_scales = fp8.requantise_4bit_fp8(*stored._operands(), shape)
    assert torch.equal(scales, expected_scales)
    assert torch.equal(codes.float(), expected.float())
