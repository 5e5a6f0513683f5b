"""The base is given back to the bit, whatever peft does to it, and nothing else is attached beside peft's methods."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

import inarch
from inarch.errors import ConfigError, PlanError, TargetError

from .conftest import loaded_by_peft, one_layer, small
from families import Family, assert_same, logits, perturb, snapshot


@pytest.mark.parametrize("beginning", ["pissa", "olora", "orthogonal"])
def test_weights_that_a_beginning_takes_over_come_back(beginning: str, llama: Family, tmp_path: Path) -> None:
    model = llama.model()
    before, base = snapshot(model), logits(model, llama.batch())
    weight: Any = model.get_submodule("model.layers.0.self_attn.q_proj").weight
    adapter = inarch.attach(model, "peft/lora", r=4, targets=("q_proj",), init_lora_weights=beginning)
    assert beginning == "orthogonal" or not torch.equal(
        weight, before["values"]["model.layers.0.self_attn.q_proj.weight"]
    )
    with adapter.disabled():
        assert torch.equal(logits(model, llama.batch()), base)
    perturb(adapter)
    answer = logits(model, llama.batch())
    adapter.save(tmp_path)
    fresh = llama.model()
    inarch.load(fresh, tmp_path)
    assert torch.equal(logits(fresh, llama.batch()), answer)
    torch.testing.assert_close(logits(loaded_by_peft(llama.model(), tmp_path), llama.batch()), answer)
    adapter.merge()
    torch.testing.assert_close(logits(model, llama.batch()), answer, rtol=0, atol=1e-5)
    adapter.detach()
    assert_same(before, snapshot(model))
    assert model.get_submodule("model.layers.0.self_attn.q_proj").weight is weight


def test_layers_that_are_repeated_come_back(llama: Family) -> None:
    model = llama.model()
    before, base = snapshot(model), logits(model, llama.batch())
    adapter = inarch.attach(model, "peft/lora", targets=("q_proj",), layer_replication=[[0, 1], [0, 1]])
    assert len(model.get_submodule("model.layers")) == 2
    with pytest.raises(inarch.MergeError, match=r"model\.layers\.1"):
        adapter.merge()
    adapter.detach()
    assert_same(before, snapshot(model))
    assert torch.equal(logits(model, llama.batch()), base)


def test_merging_for_good_leaves_a_plain_model(llama: Family) -> None:
    model = llama.model()
    names = list(model.state_dict())
    adapter = inarch.attach(model, "peft/loha", targets=("q_proj",))
    perturb(adapter)
    answer = logits(model, llama.batch())
    adapter.merge(keep_base=False)
    torch.testing.assert_close(logits(model, llama.batch()), answer, rtol=0, atol=1e-5)
    assert list(model.state_dict()) == names
    assert inarch.adapters(model) == {}


def test_a_failure_in_the_model_itself_leaves_it_as_it_was(llama: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    from inarch_plugins.peft_bridge import injection

    model = llama.model()
    before = snapshot(model)
    inject = injection._injected

    def fails(target: nn.Module, config: Any) -> Any:
        made = inject(target, config)
        if target is model:
            raise RuntimeError("out of memory")
        return made

    monkeypatch.setattr(injection, "_injected", fails)
    with pytest.raises(PlanError, match="out of memory"):
        inarch.attach(model, "peft/lora", init_lora_weights="pissa", r=4)
    assert_same(before, snapshot(model))
    assert inarch.adapters(model) == {}
    monkeypatch.undo()
    inarch.attach(model, "peft/lora", r=4)


def test_nothing_is_attached_beside_it(llama: Family) -> None:
    model = llama.model()
    adapter = inarch.attach(model, "peft/lora", targets=("q_proj",))
    answer, before = logits(model, llama.batch()), snapshot(model)
    for method in ("lora", "peft/lora"):
        with pytest.raises(PlanError, match="detach it first"):
            inarch.attach(model, method, name="second")
    assert_same(before, snapshot(model))
    assert torch.equal(logits(model, llama.batch()), answer)
    adapter.detach()
    inarch.attach(model, "lora", name="second")


def test_it_is_not_attached_beside_others(llama: Family) -> None:
    model = llama.model()
    inarch.attach(model, "lora")
    before = snapshot(model)
    with pytest.raises(PlanError, match="cannot be attached beside default"):
        inarch.attach(model, "peft/prompt_tuning", num_virtual_tokens=2, name="second")
    assert_same(before, snapshot(model))


def test_a_model_that_peft_has_changed_is_refused(llama: Family) -> None:
    model = llama.model()
    peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["q_proj"]), model)
    with pytest.raises(PlanError, match="peft's layers"):
        inarch.attach(model, "peft/oft", oft_block_size=4, targets=("v_proj",))


@pytest.mark.parametrize(
    ("method", "settings", "error", "said"),
    [
        ("lora", {"targets": ("nosuch",)}, TargetError, "nosuch"),
        ("lora", {"r": 0}, ConfigError | PlanError, "r"),
        ("lora", {"rank_pattern": {"nosuch": 2}}, PlanError, "nosuch"),
        ("lora", {"nosuch": 1}, ConfigError, 'no setting "nosuch"'),
        ("lora", {"r": "many"}, ConfigError, "r"),
        ("lora", {"init_lora_weights": "eva"}, ConfigError, "pass over data"),
        ("lora", {"init_lora_weights": "pissa_niter_4"}, ConfigError, "cannot be loaded again"),
        ("prompt_tuning", {}, PlanError, "no default for num_virtual_tokens"),
        ("adaption_prompt", {}, PlanError, "no default for adapter_len, adapter_layers"),
        ("adalora", {}, ConfigError, "total_step"),
        ("osf", {"targets": ("input_layernorm",)}, PlanError, "leaves model.layers.0.input_layernorm"),
    ],
)
def test_mistakes_are_named(method: str, settings: Any, error: Any, said: str, llama: Family) -> None:
    model = llama.model()
    before = snapshot(model)
    kinds = error.__args__ if hasattr(error, "__args__") else error
    with pytest.raises(kinds, match=said):
        inarch.attach(model, f"peft/{method}", **settings)
    assert_same(before, snapshot(model))


def test_a_half_precision_base(llama: Family) -> None:
    model = llama.model().to(torch.bfloat16)
    before = snapshot(model)
    adapter = inarch.attach(model, "peft/lora", targets=("q_proj",))
    assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float32}
    model(**llama.batch()).loss.backward()
    adapter.detach()
    assert_same(before, snapshot(model))


def test_other_trained_parameters_are_kept_apart() -> None:
    family = one_layer("bert")
    model = family.model()
    before, base = snapshot(model), logits(model, family.batch())
    adapter = inarch.attach(model, "peft/oft", **small("oft"), train=("*.LayerNorm.bias",))
    assert {"classifier.weight", "bert.embeddings.LayerNorm.bias"} <= set(adapter.trained)
    perturb(adapter)
    with adapter.disabled():
        assert torch.equal(logits(model, family.batch()), base)
    adapter.detach()
    assert_same(before, snapshot(model))
