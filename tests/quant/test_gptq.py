"""GPTQ layers: their weight is that of the format's definition, and merging goes to floating point."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import inarch
from inarch.errors import FormatError
from inarch.quant import has_weight_format, weight_format

import packed

SIZES = (64, 96)


def plain(*, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(*SIZES, bias=bias)


def shuffled() -> torch.Tensor:
    """Groups as activation order leaves them."""
    return (torch.randperm(SIZES[0], generator=torch.Generator().manual_seed(1)) // packed.GROUP).int()


@pytest.mark.parametrize("order", [None, shuffled()], ids=["in order", "act order"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_weight_is_that_of_the_definition(bits: int, order: Any) -> None:
    linear = plain()
    layer = packed.gptq(linear, bits, order)
    assert has_weight_format(layer)
    stored = weight_format(layer)
    assert stored.features(layer) == SIZES
    weight = stored.dequantised(layer)
    assert weight.dtype == torch.float16
    places = torch.arange(SIZES[0]) // packed.GROUP if order is None else order
    sorting = places.argsort(stable=True)
    codes, scales, zeros = packed.grid(linear.weight[:, sorting], bits)
    expected = packed.value(codes[:, sorting.argsort()], scales, zeros, places)
    torch.testing.assert_close(weight.float(), expected, rtol=2**-11, atol=0)  # rounded once to half precision
    # and it is near what was quantised: half a step
    steps = scales[:, places.long()]
    assert ((weight.float() - linear.weight).abs() <= 0.51 * steps + 1e-3).all()


def test_adapters_train_on_it_and_merge_to_floating_point_only() -> None:
    model = nn.Sequential(packed.gptq(plain()), nn.ReLU(), packed.gptq(nn.Linear(SIZES[1], SIZES[0])))
    x = torch.randn(2, 3, SIZES[0], generator=torch.Generator().manual_seed(2))
    base, buffers = model(x).detach(), {name: id(buffer) for name, buffer in model.named_buffers()}
    adapter = inarch.attach(model, "lora", rank=4)
    assert [site.name for site in adapter.sites] == ["0", "2"]
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in adapter.parameters())
    adapted = model(x).detach()
    with pytest.raises(FormatError, match=r"merge\(to=torch.bfloat16\)"):
        adapter.merge()
    assert not adapter.merged
    assert torch.equal(model(x), adapted)
    report = adapter.merge(to=torch.float32)
    assert report.errors.keys() == {"0", "2"}
    assert report.worst < 1e-6
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-5 * adapted.abs().max().item())
    assert not any(model.buffers())
    adapter.unmerge()
    assert torch.equal(model(x), adapted)
    adapter.detach()
    assert torch.equal(model(x), base)
    assert {name: id(buffer) for name, buffer in model.named_buffers()} == buffers


def test_a_bias_that_is_a_buffer_is_stretched_and_merged_as_any_other() -> None:
    for method, settings in (("ia3", {"targets": ("*",)}), ("lora", {"rank": 4, "dora": True})):
        linear = plain()
        model = nn.Sequential(packed.gptq(linear))
        x = torch.randn(2, SIZES[0], generator=torch.Generator().manual_seed(2))
        adapter = inarch.attach(model, method, **settings)
        torch.manual_seed(3)
        for tensor in adapter.parameters():
            tensor.data += 0.1 * torch.randn_like(tensor)
        adapted = model(x).detach()
        stretch = next(iter(adapter.parameters())).detach() if method == "ia3" else None
        if stretch is not None:
            weight = weight_format(model[0]).dequantised(model[0]).float()
            expected = (functional.linear(x, weight) + linear.bias.half().float()) * stretch.flatten()
            torch.testing.assert_close(adapted, expected, rtol=0, atol=1e-5)
        adapter.merge(to=torch.float32)
        torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-5 * adapted.abs().max().item())
        adapter.unmerge()
        assert torch.equal(model(x), adapted)


def test_kernels_without_gradients_or_with_an_order_of_their_own_are_refused() -> None:
    layer: Any = packed.gptq(plain())
    layer.SUPPORTS_TRAINING = False
    before = dict(vars(layer))
    with pytest.raises(FormatError, match=r"TorchLinear computes no gradients.*auto_trainable"):
        inarch.attach(nn.Sequential(layer), "lora", rank=4)
    assert vars(layer) == before
    shifted: Any = packed.gptq(plain())
    shifted.qweight = shifted.qweight.view(-1, 2 * SIZES[1])  # as a repacking kernel has it
    with pytest.raises(FormatError, match="layout that cannot be read"):
        weight_format(shifted).dequantised(shifted)
    turned: Any = packed.gptq(plain())
    turned.online_full_had = True
    with pytest.raises(FormatError, match="rotated"):
        weight_format(turned).dequantised(turned)


def test_a_quantised_embedding_is_no_linear_map() -> None:
    class TorchQuantEmbeddings(packed.TorchLinear):
        SUPPORTS_BACKEND_SELECTION = False

    TorchQuantEmbeddings.__module__ = packed.TorchLinear.__module__
    layer = packed.gptq(plain())
    assert not has_weight_format(TorchQuantEmbeddings(*SIZES, 4, dict(layer._buffers), None))
