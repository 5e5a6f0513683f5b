"""AWQ layers: their weight is that of the format's definition, and merging goes to floating point."""

from typing import Any

import pytest
import torch
from torch import nn

import inarch
from inarch.errors import FormatError
from inarch.quant import has_weight_format, weight_format

import packed

SIZES = (64, 96)


def plain() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(*SIZES)


def test_the_weight_is_that_of_the_definition() -> None:
    linear = plain()
    layer = packed.awq(linear)
    assert has_weight_format(layer)
    assert weight_format(layer).features(layer) == SIZES
    weight = weight_format(layer).dequantised(layer)
    codes, scales, zeros = packed.grid(linear.weight, 4)
    expected = packed.value(codes, scales, zeros, torch.arange(SIZES[0]) // packed.GROUP)
    torch.testing.assert_close(weight.float(), expected, rtol=2**-11, atol=0)
    assert ((weight.float() - linear.weight).abs() <= 0.51 * scales.repeat_interleave(packed.GROUP, 1) + 1e-3).all()


def test_adapters_train_on_it_and_merge_to_floating_point_only() -> None:
    model = nn.Sequential(packed.awq(plain()), nn.ReLU(), packed.awq(nn.Linear(SIZES[1], SIZES[0])))
    x = torch.randn(2, 3, SIZES[0], generator=torch.Generator().manual_seed(2))
    base = model(x).detach()
    adapter = inarch.attach(model, "lora", rank=4)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in adapter.parameters())
    adapted = model(x).detach()
    with pytest.raises(FormatError, match=r"AwqTorchLinear cannot take the sum.*merge\(to=torch.bfloat16\)"):
        adapter.merge()
    assert torch.equal(model(x), adapted)
    adapter.merge(to=torch.float32, keep_base=False)
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-5 * adapted.abs().max().item())
    assert not torch.equal(adapted, base)
    assert not [name for name, _ in model.named_buffers()]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_other_layouts_and_autoawq_on_a_cpu_are_refused() -> None:
    layer: Any = packed.awq(plain())
    layer.bits = 8
    with pytest.raises(FormatError, match="layout that cannot be read"):
        weight_format(layer).dequantised(layer)

    class WQLinear_GEMM(packed.AwqTorchLinear):  # noqa: N801 - autoawq's
        pass

    WQLinear_GEMM.__module__ = "awq.modules.linear.gemm"
    theirs = WQLinear_GEMM(*SIZES, 4, dict(packed.awq(plain())._buffers), None)
    assert has_weight_format(theirs)
    with pytest.raises(FormatError, match="autoawq computes no gradients on a CPU"):
        inarch.attach(nn.Sequential(theirs), "lora", rank=4)
