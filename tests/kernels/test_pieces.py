"""Weights written into a given tensor: to the bit what the reference gives, whatever is shared by rows and blocks."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from inarch.errors import FormatError
from inarch.kernels import CODEBOOKS, FourBit, Int8, bitsandbytes_cpu, pieces, reference

SHAPES = [(33, 17), (1, 64), (5, 1000), (130, 300), (300, 256)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


@pytest.fixture(autouse=True, params=[1 << 11, pieces.PIECE], ids=["small pieces", "pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that a weight has several of, and such as are in use."""
    monkeypatch.setattr(pieces, "PIECE", request.param)
    monkeypatch.setattr(pieces, "QUANTISED", request.param)


@pytest.fixture(params=[True, False], ids=["bitsandbytes", "torch"])
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With bitsandbytes' compiled loop, and without."""
    if not request.param:
        monkeypatch.setattr(bitsandbytes_cpu, "_loop", lambda kind, dtype: None)


def weight(shape: tuple[int, int]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).mul(0.05)


def low_rank(shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    B, A = (torch.randn(size, generator=generator).to(dtype) for size in ((shape[0], 8), (8, shape[1])))
    return B, A


def expected(stored: FourBit, dtype: torch.dtype) -> Tensor:
    """By the reference: float32, rounded once."""
    packed, absmax, code, blocksize, *nested = stored._operands()
    scales = reference.block_scales(absmax, *nested)
    return reference.dequantise_4bit(packed, scales, code, blocksize, stored.shape, dtype)


def empty(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


def assert_rounded_sum(found: Tensor, base: Tensor, B: Tensor, A: Tensor) -> None:
    """Added in float32, each product and sum rounded by 2^-24 of what it comes to at most, and rounded to the dtype."""
    exact = base.double() + B.double() @ A.double()
    magnitude = base.double().abs() + B.double().abs() @ A.double().abs()
    allowed = 2 * (A.shape[0] + 1) * 2**-24 * magnitude
    if found.dtype in (torch.bfloat16, torch.float16):
        allowed += 0.5 * torch.finfo(found.dtype).eps * (exact.abs() + allowed) + torch.finfo(found.dtype).tiny
    assert ((found.double() - exact).abs() <= allowed).all()


@pytest.mark.usefixtures("_loop")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "double"), [("nf4", True), ("nf4", False), ("fp4", True)])
def test_four_bits(kind: Any, double: bool, shape: tuple[int, int], dtype: torch.dtype) -> None:
    stored = FourBit.quantise(weight(shape), kind, double=double)
    out = empty(shape, dtype)
    assert stored.dequantise(out=out) is out
    assert torch.equal(out, expected(stored, dtype))
    assert torch.equal(stored.dequantise(dtype), out)


@pytest.mark.parametrize("blocksize", [2, 16, 24, 32, 128, 1024, 4096])
@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_blocks_of_every_size(dtype: torch.dtype, blocksize: int) -> None:
    for shape in ((24, 128), (5, 4096), (3, 33)):
        stored = FourBit.quantise(weight(shape), blocksize=blocksize)
        assert torch.equal(stored.dequantise(dtype), expected(stored, dtype))


def test_scales_of_every_magnitude_are_rounded_once() -> None:
    """In bfloat16 what is below the smallest normal number may be zero; float16's own such numbers are exact."""
    packed = torch.randint(0, 256, (64 * 256 // 2,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scales = torch.logspace(-126, 120, 256, base=2)
    code = FourBit.quantise(weight((1, 64))).code
    for dtype in DTYPES[:3]:
        stored = FourBit(packed, scales, code, "nf4", torch.Size((256, 64)), dtype)
        found, exact = stored.dequantise(), expected(stored, dtype)
        normal = exact.abs() >= 2.0**-126
        assert torch.equal(found[normal], exact[normal])
        assert (found[~normal].abs() <= exact[~normal].abs()).all()


def test_values_of_ones_own_are_no_nf4() -> None:
    stored = FourBit.quantise(weight((64, 64)))
    object.__setattr__(stored, "code", stored.code * 2)
    assert torch.equal(stored.dequantise(torch.float32), expected(stored, torch.float32))


def test_the_loop_is_found_in_the_installed_release() -> None:
    assert bitsandbytes_cpu._loop("nf4", torch.bfloat16) is not None


def test_another_release_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes

    for release in ("0.48.2", "0.51.0.dev0", "1.0"):
        monkeypatch.setattr(bitsandbytes, "__version__", release)
        assert bitsandbytes_cpu._loop.__wrapped__("nf4", torch.bfloat16) is None
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert bitsandbytes_cpu._loop.__wrapped__("nf4", torch.bfloat16) is None


@pytest.mark.usefixtures("_loop")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_four_bits_with_a_change(shape: tuple[int, int], dtype: torch.dtype) -> None:
    stored, out = FourBit.quantise(weight(shape)), empty(shape, dtype)
    for factors in (torch.float32, torch.bfloat16):
        B, A = low_rank(shape, factors)
        assert stored.plus(B.requires_grad_(), A, out=out) is out
        assert_rounded_sum(out, stored.dequantise(torch.float32), B.detach(), A)
        assert torch.equal(stored.plus(B, A, dtype), out)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_eight_bits(shape: tuple[int, int], dtype: torch.dtype) -> None:
    stored, out = Int8.quantise(weight(shape)), empty(shape, dtype)
    assert stored.dequantise(out=out) is out
    assert torch.equal(out, reference.dequantise_int8(stored.weight, stored.scales, dtype))
    assert torch.equal(stored.dequantise(dtype), out)
    B, A = low_rank(shape, torch.float32)
    assert stored.plus(B, A, out=out) is out
    assert_rounded_sum(out, stored.dequantise(torch.float32), B, A)
    assert torch.equal(stored.plus(B, A, dtype), out)


@pytest.mark.parametrize("make", [FourBit.quantise, Int8.quantise], ids=["four", "eight"])
def test_a_tensor_that_does_not_fit_is_refused_untouched(make: Any) -> None:
    stored = make(weight((64, 32)))
    B, A = low_rank((64, 32), torch.float32)
    wrong = {
        r"shape \(32, 64\)": (torch.zeros(32, 64), None),
        "not contiguous": (torch.zeros(32, 64).T, None),
        "torch.int8": (torch.zeros(64, 32, dtype=torch.int8), None),
        "contiguous tensor of torch.bfloat16": (torch.zeros(64, 32), torch.bfloat16),
        "on meta": (torch.zeros(64, 32, device="meta"), None),
    }
    for message, (out, dtype) in wrong.items():
        with pytest.raises(FormatError, match=message):
            stored.dequantise(dtype, out)
        with pytest.raises(FormatError, match=message):
            stored.plus(B, A, dtype, out)
        assert out.is_meta or not out.any()
    for left, right in ((B[:-1], A), (B, A[:, :-1]), (B[:, :-1], A), (B[0], A)):
        with pytest.raises(FormatError, match=r"B is \(64, rank\) and A \(rank, 32\)"):
            stored.plus(left, right)


def largest_allocation(work: Any) -> int:
    """The bytes of the largest tensor that an operation allocated."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    return max((event.self_cpu_memory_usage for event in profile.events()), default=0)


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_nothing_of_the_weights_size_is_allocated(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 12)
    w = weight((512, 512))
    four, eight, out = FourBit.quantise(w), Int8.quantise(w), torch.empty(512, 512, dtype=dtype)
    B, A = low_rank((512, 512), torch.float32)
    for stored in (four, eight):
        for work in (lambda own=stored: own.dequantise(out=out), lambda own=stored: own.plus(B, A, out=out)):
            work()
            assert largest_allocation(work) <= 4 * (1 << 12)
    assert largest_allocation(lambda: four.dequantise(dtype)) == out.nbytes


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_quantised_as_by_the_reference(shape: tuple[int, int]) -> None:
    for blocksize in (32, 64):
        found = pieces.quantise_4bit(weight(shape), CODEBOOKS["nf4"], blocksize)
        wanted = reference.quantise_4bit(weight(shape), CODEBOOKS["nf4"], blocksize)
        assert all(map(torch.equal, found, wanted))
    assert all(map(torch.equal, pieces.quantise_int8(weight(shape)), reference.quantise_int8(weight(shape))))
