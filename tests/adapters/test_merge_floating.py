"""Merging a quantised base to floating point, and what merging in its own format has lost."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch.errors import ConfigError, MergeError
from inarch.quant import FourBitLinear, Int8Linear, weight_format

SIZES = (128, 96)


def quantised(make: Any = FourBitLinear.of, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(make(nn.Linear(*SIZES, dtype=dtype)), nn.ReLU(), nn.Linear(SIZES[1], 64, dtype=dtype))


def inputs(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(2, 3, SIZES[0], generator=torch.Generator().manual_seed(1)).to(dtype)


def attached(model: nn.Module, name: str = "default", seed: int = 2, scale: float = 0.05) -> inarch.Adapter:
    adapter = inarch.attach(model, "lora", rank=4, name=name)
    generator = torch.Generator().manual_seed(seed)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=scale, generator=generator)
    return adapter


def held(model: nn.Module) -> dict[str, Any]:
    return {
        name: (type(module), sorted(vars(module)), {key: id(value) for key, value in module._parameters.items()})
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("make", [FourBitLinear.of, Int8Linear.of])
@pytest.mark.parametrize("to", [torch.float32, torch.bfloat16, torch.float16])
def test_the_merged_weight_is_the_sum_rounded_once(to: torch.dtype, make: Any) -> None:
    model, x = quantised(make), inputs()
    base, before = model(x).detach(), held(model)
    adapter = attached(model)
    adapted, shown = model(x).detach(), held(model)
    weight = weight_format(model[0]).dequantised(model[0])
    delta = adapter.modules["0"].delta().weight.detach()
    report = adapter.merge(to=to)
    exact = weight.double() + delta.double()
    merged = model[0].weight
    assert merged.dtype == to
    # half a unit in the last place, and what adding in float32 can be off by
    allowed = torch.finfo(to).eps / 2 * exact.abs() + 2 * torch.finfo(torch.float32).eps * exact.abs().max()
    assert ((merged.double() - exact).abs() <= allowed).all()
    assert report.errors.keys() == {"0"}
    wanted = ((merged.double() - exact).norm() / delta.norm()).item()
    assert report.errors["0"] == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    y = model(x)
    assert y.dtype == x.dtype
    expected = functional.linear(x.to(to), merged, model[0].bias.to(to)).float()
    inner = functional.relu(expected)
    second = functional.linear(inner, model[2].weight, model[2].bias)
    torch.testing.assert_close(y, second, rtol=0, atol=1e-6)
    adapter.unmerge()
    assert held(model) == shown
    assert torch.equal(model(x), adapted)
    adapter.detach()
    assert held(model) == before
    assert torch.equal(model(x), base)


def test_a_small_change_is_lost_in_four_bits_and_the_report_says_so() -> None:
    model, x = quantised(), inputs()
    base = model(x).detach()
    adapter = attached(model, scale=0.005)
    adapted = model(x).detach()
    assert adapter.report().merge is None
    report = adapter.merge()
    assert report.worst == report.mean == report.errors["0"] > 0.5
    assert (model(x) - adapted).norm() > 0.5 * (adapted - base).norm()
    found = adapter.report()
    assert found.merge == report
    assert f"off by {report.mean:.2%} of the adapter's change" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["merge"]["errors"]["0"] == pytest.approx(report.errors["0"])
    adapter.unmerge()
    assert adapter.merge(to=torch.float32).worst < 1e-3
    torch.testing.assert_close(model(x), adapted, rtol=0, atol=1e-6)


def test_a_plain_base_has_nothing_to_lose() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(*SIZES))
    weight = model[0].weight
    adapter = attached(model)
    for to in (None, torch.bfloat16):
        report = adapter.merge(to=to)
        assert report.errors == {}
        assert (report.worst, report.mean) == (0.0, 0.0)
        assert type(model[0]) is nn.Linear
        assert model[0].weight.dtype == torch.float32  # only quantised weights are exchanged
        assert "exact but for one rounding" in str(report)
        adapter.unmerge()
        assert model[0].weight is weight


def test_turning_it_off_and_copying_it_while_it_is_merged() -> None:
    model, x = quantised(), inputs()
    base = model(x).detach()
    adapter = attached(model)
    adapter.merge(to=torch.float32)
    merged = model(x).detach()
    with adapter.disabled():
        assert type(model[0]) is FourBitLinear
        assert torch.equal(model(x), base)
    assert torch.equal(model(x), merged)
    twin = copy.deepcopy(model)
    inarch.adapters(twin)["default"].detach()
    assert torch.equal(twin(x), base)
    assert torch.equal(model(x), merged)
    adapter.detach()
    assert torch.equal(model(x), base)


@pytest.mark.parametrize("kinds", [(torch.float32, torch.float32), (torch.float32, None), (None, torch.float32)])
@pytest.mark.parametrize("first", ["one", "two"])
def test_two_adapters_merge_in_any_way_and_go_in_any_order(kinds: Any, first: str) -> None:
    model, x = quantised(), inputs()
    base = model(x).detach()
    one = attached(model, "one")
    alone = model(x).detach()
    two = attached(model, "two", seed=3)
    both = model(x).detach()
    adapters = {"one": one, "two": two}
    one.merge(to=kinds[0])
    if kinds[0] is not None:
        torch.testing.assert_close(model(x), both, rtol=0, atol=1e-6)
    two.merge(to=kinds[1])
    if None not in kinds[:1]:
        torch.testing.assert_close(model(x), both, rtol=0, atol=1e-6)
    adapters.pop(first).unmerge()
    assert (type(model[0]) is FourBitLinear) == ({"one": kinds[1], "two": kinds[0]}[first] is None)
    (last,) = adapters.values()
    last.unmerge()
    assert torch.equal(model(x), both)
    two.detach()
    assert torch.equal(model(x), alone)
    one.detach()
    assert torch.equal(model(x), base)


def test_half_precision_activations_go_through_as_they_are() -> None:
    model, x = quantised(dtype=torch.bfloat16), inputs(torch.bfloat16)
    adapter = attached(model)
    adapted = model(x).detach()
    adapter.merge(to=torch.bfloat16, keep_base=False)
    y = model(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, adapted, rtol=0, atol=2**-6 * adapted.abs().max().item())
    assert {name: value.dtype for name, value in model.state_dict().items()} == dict.fromkeys(
        ["0.weight", "0.bias", "2.weight", "2.bias"], torch.bfloat16
    )


def test_wrong_use_is_refused_and_nothing_is_changed() -> None:
    model, x = quantised(), inputs()
    adapter = attached(model)
    adapted, shown = model(x).detach(), held(model)
    with pytest.raises(ConfigError, match=r"floating-point dtype.*torch.int8"):
        adapter.merge(to=torch.int8)
    vars(model[0])["_old_forward"] = model[0].forward  # as accelerate leaves it, where it moves layers about
    with pytest.raises(MergeError, match="accelerate"):
        adapter.merge(to=torch.float32)
    del vars(model[0])["_old_forward"]
    assert held(model) == shown
    assert torch.equal(model(x), adapted)
