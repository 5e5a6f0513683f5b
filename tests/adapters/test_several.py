"""Several adapters on one model: activated, weighed, stacked, detached in any order, saved as one."""

import itertools
from pathlib import Path

import pytest
import torch

import inarch
from inarch import CheckpointError, ConfigError, MergeError, PlanError, UnknownNameError, WrongBaseError

from families import FAMILIES, assert_same, logits, perturb, snapshot
from scaling import Scale

GPT2 = FAMILIES["gpt2"]


def three(model: torch.nn.Module) -> dict[str, inarch.Adapter]:
    adapters = {
        "low": inarch.attach(model, "lora", name="low"),
        "bias": inarch.attach(model, "bitfit", name="bias"),
        "all": inarch.attach(model, "full", name="all"),
    }
    for seed, adapter in enumerate(adapters.values()):
        perturb(adapter, seed=seed, scale=0.02)
    return adapters


@pytest.mark.parametrize("order", list(itertools.permutations(["low", "bias", "all"])))
def test_detached_in_any_order(order: tuple[str, ...]) -> None:
    model = GPT2.model()
    before, plain = snapshot(model), logits(model, GPT2.batch())
    adapters = three(model)
    left = set(adapters)
    for name in order:
        inarch.activate(model, *left - {name})
        expected = logits(model, GPT2.batch())
        inarch.activate(model, *left)
        assert not torch.equal(logits(model, GPT2.batch()), expected)
        adapters[name].detach()
        left -= {name}
        assert torch.equal(logits(model, GPT2.batch()), expected)
    assert torch.equal(logits(model, GPT2.batch()), plain)
    assert_same(before, snapshot(model))


def test_activate_turns_the_others_off() -> None:
    model = GPT2.model()
    adapters = three(model)
    inarch.activate(model, "bias", low=0.5)
    assert {name: adapter.enabled for name, adapter in adapters.items()} == {"low": True, "bias": True, "all": False}
    assert adapters["low"].weight == 0.5
    with pytest.raises(UnknownNameError, match='did you mean "low"'):
        inarch.activate(model, "lo")
    assert adapters["low"].enabled
    with pytest.raises(ConfigError, match="cannot be weighed"):
        inarch.activate(model, all=0.5)


def test_a_weight_scales_the_delta() -> None:
    weighed, merged = GPT2.model().double(), GPT2.model().double()
    for model in (weighed, merged):
        torch.manual_seed(2)
        perturb(inarch.attach(model, "lora"))
        inarch.adapters(model)["default"].weight = 0.25
    inarch.adapters(merged)["default"].merge()
    torch.testing.assert_close(logits(merged, GPT2.batch()), logits(weighed, GPT2.batch()), rtol=0, atol=1e-10)
    site = inarch.adapters(weighed)["default"].sites[0]
    delta = inarch.adapters(weighed)["default"].modules[site.name].delta().weight
    with torch.no_grad():
        full = inarch.adapters(merged)["default"].sites[0].weight() - site.weight()
    torch.testing.assert_close(full, 0.25 * delta.detach(), rtol=0, atol=1e-12)
    with pytest.raises(ConfigError, match="unmerge it"):
        inarch.adapters(merged)["default"].weight = 1.0


def test_a_zero_weight_is_the_base() -> None:
    model = GPT2.model()
    plain = logits(model, GPT2.batch())
    adapter = inarch.attach(model, Scale())
    perturb(adapter)
    adapter.weight = 0.0
    assert torch.equal(logits(model, GPT2.batch()), plain)


def test_a_bundle_holds_everything(tmp_path: Path) -> None:
    model = GPT2.model()
    three(model)
    inarch.activate(model, "bias", low=0.5)
    answer = logits(model, GPT2.batch())
    inarch.save_bundle(model, tmp_path / "bundle")
    fresh = GPT2.model()
    before, plain = snapshot(fresh), logits(fresh, GPT2.batch())
    adapters = inarch.load_bundle(fresh, tmp_path / "bundle")
    assert list(adapters) == ["low", "bias", "all"]
    assert torch.equal(logits(fresh, GPT2.batch()), answer)
    inarch.activate(model, "all")
    inarch.activate(fresh, "all")
    assert torch.equal(logits(fresh, GPT2.batch()), logits(model, GPT2.batch()))
    for adapter in adapters.values():
        adapter.detach()
    assert torch.equal(logits(fresh, GPT2.batch()), plain)
    assert_same(before, snapshot(fresh))


def test_one_adapter_of_several_is_saved_for_the_base(tmp_path: Path) -> None:
    model = GPT2.model()
    three(model)["low"].save(tmp_path / "low")
    inarch.load(GPT2.model(), tmp_path / "low")


def test_a_bundle_is_loaded_whole_or_not_at_all(tmp_path: Path) -> None:
    model = GPT2.model()
    with pytest.raises(PlanError, match="nothing to save"):
        inarch.save_bundle(model, tmp_path / "bundle")
    three(model)
    inarch.save_bundle(model, tmp_path / "bundle")
    other = GPT2.model(seed=3)
    before = snapshot(other)
    with pytest.raises(WrongBaseError):
        inarch.load_bundle(other, tmp_path / "bundle")
    (tmp_path / "bundle" / "all" / "adapter_model.safetensors").unlink()
    fresh = GPT2.model()
    with pytest.raises(CheckpointError, match="holds no adapter_model"):
        inarch.load_bundle(fresh, tmp_path / "bundle")
    assert inarch.adapters(fresh) == {}
    assert_same(before, snapshot(other))
    with pytest.raises(CheckpointError, match="load a single adapter"):
        inarch.load_bundle(fresh, tmp_path / "bundle" / "low")


def test_merging_keeps_the_order_or_is_refused() -> None:
    model = GPT2.model().double()
    scale = inarch.attach(model, Scale(), name="scale")
    lora = inarch.attach(model, "lora", name="lora")
    more = inarch.attach(model, "lora", name="more")
    for seed, adapter in enumerate([scale, lora, more]):
        perturb(adapter, seed=seed)
    with pytest.raises(MergeError, match=r'"scale" .* was attached before "lora"'):
        lora.merge()
    scale.detach()
    answer = logits(model, GPT2.batch())
    more.merge()  # below lora, which only adds
    torch.testing.assert_close(logits(model, GPT2.batch()), answer, rtol=0, atol=1e-10)
