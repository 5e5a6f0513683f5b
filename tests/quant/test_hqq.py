"""HQQ layers: their weight, and merging by their own settings or to floating point."""

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


def inputs() -> torch.Tensor:
    return torch.randn(2, 3, SIZES[0], generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("bits", [4, 8])
def test_the_weight_is_what_the_layer_computes_with(bits: int) -> None:
    layer = packed.hqq(plain(), bits)
    assert has_weight_format(layer)
    assert weight_format(layer).features(layer) == SIZES
    seen = (layer(torch.eye(SIZES[0])) - layer(torch.zeros(1, SIZES[0]))).T
    torch.testing.assert_close(weight_format(layer).dequantised(layer), seen, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_merged_it_computes_with_the_sum_and_unmerged_with_the_base(bits: int) -> None:
    model = nn.Sequential(packed.hqq(plain(), bits))
    x = inputs()
    base, codes, meta = model(x).detach(), model[0].W_q, model[0].meta
    adapter = inarch.attach(model, "lora", rank=4)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    adapted = model(x).detach()
    total = weight_format(model[0]).dequantised(model[0]) + adapter.modules["0"].delta().weight.detach()
    randomness = torch.random.get_rng_state()
    report = adapter.merge()
    assert torch.equal(torch.random.get_rng_state(), randomness)
    codes_of_sum, scales, zeros = packed.grid(total, bits)
    expected = packed.value(codes_of_sum, scales, zeros, torch.arange(SIZES[0]) // packed.GROUP)
    found = weight_format(model[0]).dequantised(model[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    delta = adapter.modules["0"].delta().weight
    assert report.errors["0"] == pytest.approx(((found - total).norm() / delta.norm()).item(), rel=1e-4)
    torch.testing.assert_close(model(x), nn.functional.linear(x, expected, model[0].bias), rtol=0, atol=1e-5)
    assert type(model[0]) is packed.HQQLinear
    adapter.unmerge()
    assert model[0].W_q is codes
    assert model[0].meta is meta
    assert torch.equal(model(x), adapted)
    adapter.detach()
    assert torch.equal(model(x), base)


def test_merged_to_floating_point_it_is_exact() -> None:
    model = nn.Sequential(packed.hqq(plain()), packed.hqq(nn.Linear(SIZES[1], 32)))
    x = inputs()
    adapter = inarch.attach(model, "lora", rank=4)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    adapted = model(x).detach()
    rounded = adapter.merge()
    adapter.unmerge()
    exact = adapter.merge(to=torch.float32)
    assert exact.worst < 1e-5 < 0.05 < rounded.mean
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-5 * adapted.abs().max().item())


def test_a_layer_that_holds_nothing_yet_is_refused() -> None:
    layer = packed.hqq(plain())
    layer.ready = False
    with pytest.raises(FormatError, match="is not quantised yet"):
        weight_format(layer).dequantised(layer)


def test_merged_for_good_it_stays_what_it_is() -> None:
    model = nn.Sequential(packed.hqq(plain(), 8))
    x = inputs()
    adapter = inarch.attach(model, "lora", rank=4)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    adapter.merge()
    merged = model(x).detach()
    adapter.unmerge()
    adapter.merge(keep_base=False)
    assert torch.equal(model(x), merged)
    assert type(model[0]) is packed.HQQLinear
    assert [name for name, _ in model.named_parameters()] == ["0.W_q"]


def test_an_adapter_that_changes_nothing_loses_nothing() -> None:
    model = nn.Sequential(packed.hqq(plain()))
    assert inarch.attach(model, "lora", rank=4).merge().errors == {"0": 0.0}
