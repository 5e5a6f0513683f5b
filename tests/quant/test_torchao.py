"""Weights of torchao: what they are, merging by their own settings, and setups that pass no gradient."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch.errors import FormatError
from inarch.quant import weight_format

import packed

SIZES = (64, 96)


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with packed.installed():
        yield


def layer() -> Any:
    torch.manual_seed(0)
    return packed.torchao(nn.Linear(*SIZES))


def inputs() -> Tensor:
    return torch.randn(2, 3, SIZES[0], generator=torch.Generator().manual_seed(2))


def test_the_weight_is_what_the_layer_computes_with() -> None:
    module = layer()
    assert weight_format(module).features(module) == SIZES
    seen = (module(torch.eye(SIZES[0])) - module(torch.zeros(1, SIZES[0]))).T.detach()
    found = weight_format(module).dequantised(module)
    assert type(found) is Tensor
    torch.testing.assert_close(found, seen, rtol=0, atol=1e-6)


def test_merged_it_computes_with_the_sum_and_unmerged_with_the_base() -> None:
    model = nn.Sequential(layer())
    x = inputs()
    base, weight = model(x).detach(), model[0].weight
    adapter = inarch.attach(model, "lora", rank=4)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    adapted = model(x).detach()
    delta = adapter.modules["0"].delta().weight.detach()
    total = weight.dequantize() + delta
    report = adapter.merge()
    scale = total.abs().amax(1, keepdim=True) / 127.5  # symmetric, from -128 to 127
    expected = (total / scale).round().clamp(-128, 127) * scale
    torch.testing.assert_close(weight_format(model[0]).dequantised(model[0]), expected, rtol=0, atol=1e-6)
    assert report.errors["0"] == pytest.approx(((expected - total).norm() / delta.norm()).item(), rel=1e-4)
    torch.testing.assert_close(model(x), functional.linear(x, expected, model[0].bias), rtol=0, atol=1e-5)
    adapter.unmerge()
    assert model[0].weight is weight
    assert torch.equal(model(x), adapted)
    adapter.merge(to=torch.float32)
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-5)
    adapter.detach()
    assert model[0].weight is weight
    assert torch.equal(model(x), base)


def test_an_adapter_on_it_is_saved_and_loaded(tmp_path: Any) -> None:
    model = nn.Sequential(layer())
    adapter = inarch.attach(model, "lora", rank=4)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    adapter.save(tmp_path / "saved")
    other = nn.Sequential(layer())
    inarch.load(other, tmp_path / "saved")
    assert torch.equal(other(inputs()), model(inputs()))


def test_what_passes_no_gradient_or_cannot_be_trained_is_refused_untouched() -> None:
    class Blocking(packed.Int8Tensor):
        """As where what it is multiplied by is quantised too."""

        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = super().__torch_function__(function, types, args, kwargs)
            return found.detach() if function is functional.linear else found

    Blocking.__module__ = packed.Int8Tensor.__module__
    module = layer()
    module.weight = nn.Parameter(Blocking(module.weight.qdata, module.weight.scale), requires_grad=False)
    model = nn.Sequential(module)
    with pytest.raises(FormatError, match="No gradient passes a Blocking of torchao"):
        inarch.attach(model, "lora", rank=4)
    assert inarch.adapters(model) == {}
    assert not module._forward_hooks
    with pytest.raises(FormatError, match=r"0.weight is stored as Int8Tensor and cannot be trained itself"):
        inarch.attach(nn.Sequential(layer()), "full")


def test_a_class_that_does_not_say_all_its_settings_is_merged_to_floating_point_only() -> None:
    class Int4Tensor(packed.Int8Tensor):
        pass

    Int4Tensor.__module__ = packed.Int8Tensor.__module__
    module = layer()
    module.weight = nn.Parameter(Int4Tensor(module.weight.qdata, module.weight.scale), requires_grad=False)
    model = nn.Sequential(module)
    adapter = inarch.attach(model, "lora", rank=4)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    adapted = model(inputs()).detach()
    with pytest.raises(FormatError, match=r"A Int4Tensor of torchao cannot be quantised again.*to=torch.bfloat16"):
        adapter.merge()
    adapter.merge(to=torch.float32)
    torch.testing.assert_close(model(inputs()), adapted, rtol=0, atol=1e-5)
