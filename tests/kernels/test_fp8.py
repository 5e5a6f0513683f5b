"""Eight bits of floating point, held against the arithmetic of e4m3 in float64."""

import pytest
import torch
from torch import Tensor

from inarch.errors import FormatError
from inarch.kernels import FourBit, fp8, fp8_linear, supports_fp8

RELATIVE, ABSOLUTE = 2**-4, 2**-10
"""Half the distance of neighbours with three bits of mantissa, and below the smallest normal number, 2^-6."""


def weight(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).mul(0.05)


def rounding(values: Tensor, scales: Tensor) -> Tensor:
    """The most that e4m3 changes values by; a scale is itself rounded, twice, in float32."""
    values = values.double().abs()
    return torch.maximum(RELATIVE * values, ABSOLUTE * scales.double().unsqueeze(1)) + 2**-21 * values


@pytest.mark.parametrize("shape", [(64, 64), (33, 17), (1, 1000)], ids=str)
def test_each_row_is_rounded_as_the_format_rounds(shape: tuple[int, int]) -> None:
    w = weight(*shape) * torch.logspace(-6, 3, shape[0]).unsqueeze(1)
    codes, scales = fp8.quantise_fp8(w)
    assert codes.dtype == torch.float8_e4m3fn
    torch.testing.assert_close(scales.double(), w.double().abs().amax(dim=1) / 448, rtol=2**-23, atol=0)
    found = codes.double() * scales.double().unsqueeze(1)
    assert ((found - w.double()).abs() <= rounding(w, scales)).all()
    assert (codes.float().abs().amax(dim=1) == 448).all()


def test_a_row_of_zeros_stays_zero() -> None:
    codes, scales = fp8.quantise_fp8(torch.zeros(2, 8))
    assert torch.equal(codes.float() * scales.unsqueeze(1), torch.zeros(2, 8))


@pytest.mark.parametrize("double", [False, True])
def test_four_bits_go_to_eight(double: bool) -> None:
    stored = FourBit.quantise(weight(96, 80), double=double)
    w = stored.dequantise(torch.float32)
    codes, scales = stored.to_fp8()
    assert ((codes.double() * scales.double().unsqueeze(1) - w.double()).abs() <= rounding(w, scales)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_product_is_off_by_the_rounding_of_its_factors(dtype: torch.dtype) -> None:
    """``|xw - x'w'| <= |x| dw + |w| dx + dx dw``, added up, and the sum rounded to the dtype."""
    stored, x = FourBit.quantise(weight(48, 128)), weight(2, 5, 128).mul(20).to(dtype)
    w = stored.dequantise(torch.float32)
    codes, scales = stored.to_fp8()
    found = fp8_linear(x, codes, scales)
    assert found.shape == (2, 5, 48)
    assert found.dtype == dtype
    rows = x.reshape(-1, 128)
    dx, dw = rounding(rows, fp8.quantise_fp8(rows)[1]), rounding(w, scales)
    size, other = rows.double().abs(), w.double().abs()
    allowed = size @ dw.T + dx @ other.T + dx @ dw.T
    exact = rows.double() @ w.double().T
    allowed += torch.finfo(dtype).eps * (exact.abs() + allowed) + 2**-20 * size @ other.T
    assert ((found.double().view(-1, 48) - exact).abs() <= allowed).all()


@pytest.mark.skipif(torch.__version__ < "2.13", reason="torch multiplies e4m3 by row on a CPU from 2.13 on")
def test_it_is_what_torch_multiplies() -> None:
    codes, scales = FourBit.quantise(weight(48, 128)).to_fp8()
    x = weight(16, 128)
    rows, of_rows = fp8.quantise_fp8(x)
    expected = torch._scaled_mm(
        rows, codes.T, scale_a=of_rows.unsqueeze(1), scale_b=scales.unsqueeze(0), out_dtype=torch.float32
    )
    size = (rows.float().abs() * of_rows.unsqueeze(1)) @ (codes.float().abs() * scales.unsqueeze(1)).T
    assert ((fp8_linear(x, codes, scales) - expected).abs() <= 2 * 128 * 2**-24 * size).all()


def test_a_gpu_without_it_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 0)
    assert not supports_fp8(torch.device("cpu"))
    for capability, supported in {(8, 0): False, (8, 9): True, (9, 0): True, (10, 0): True}.items():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert supports_fp8(gpu) is supported
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(FormatError, match=r"meta does not compute in float8_e4m3fn: .* 8\.9 or later"):
        fp8_linear(*(tensor.to("meta") for tensor in (weight(4, 16), *FourBit.quantise(weight(16, 16)).to_fp8())))
