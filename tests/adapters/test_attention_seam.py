"""The attention seam: prefixes against attention written out, entering a model and leaving it."""

import copy
import gc
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, Gemma2Config, GptOssConfig, MistralConfig
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import AttentionInterface

import inarch
from inarch import PlanError
from inarch_plugins.prefix import PrefixTuning

from attentions import EXACT, INTERFACE, LENGTH, Given, attach, inserted, precise, road, text  # noqa: F401 - a fixture
from families import FAMILIES, Family, assert_same, double, logits, snapshot

UNTOUCHED = AttentionInterface.__dict__["get_interface"]


class WrittenOut:
    """softmax(q [P_K; K]^T) [P_V; V] in float64, head by head, for the modules it knows prefixes of."""

    def __init__(self, prefixes: dict[nn.Module, tuple[Tensor, Tensor]]) -> None:
        self.prefixes = prefixes

    def __call__(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        keys, values = self.prefixes[module]
        groups = query.shape[1] // key.shape[1]
        size, value_size = key.shape[-1], value.shape[-1]
        scaling = kwargs.get("scaling")
        outputs = []
        for head in range(query.shape[1]):
            of = head // groups
            own_keys = keys[:, of * size : (of + 1) * size].expand(query.shape[0], -1, -1)
            own_values = values[:, of * value_size : (of + 1) * value_size].expand(query.shape[0], -1, -1)
            scores = query[:, head] @ key[:, of].mT
            scores = scores * (size**-0.5 if scaling is None else scaling)
            if kwargs.get("position_bias") is not None:
                scores = scores + kwargs["position_bias"][:, head]
            if attention_mask is not None:
                scores = scores + attention_mask[:, 0]
            first = query[:, head] @ own_keys.mT * (size**-0.5 if scaling is None else scaling)
            shares = torch.cat([first, scores], dim=-1).softmax(dim=-1)
            outputs.append(shares @ torch.cat([own_values, value[:, of]], dim=1))
        return torch.stack(outputs, dim=2), None


@pytest.fixture
def written_out() -> Iterator[Callable[[nn.Module, inarch.Adapter], None]]:
    """A function that makes a model compute with the prefixes of an adapter that is on another copy of it."""

    def use(model: Any, adapter: inarch.Adapter) -> None:
        modules = dict(model.named_modules())
        prefixes = {}
        for name, built in adapter.modules.items():
            assert isinstance(built, Given)
            prefixes[modules[name]] = (built.keys.detach(), built.values.detach())
        AttentionInterface.register("written_out", WrittenOut(prefixes))
        ALL_MASK_ATTENTION_FUNCTIONS.register("written_out", eager_mask)
        model.set_attn_implementation("written_out")

    yield use
    AttentionInterface._global_mapping.pop("written_out", None)
    ALL_MASK_ATTENTION_FUNCTIONS._global_mapping.pop("written_out", None)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_equals_attention_written_out(family: Family, implementation: str, road: str, written_out: Any) -> None:
    model, batch = precise(family)
    oracle = copy.deepcopy(model)
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    written_out(oracle, attach(model))
    in_float32 = implementation == "eager" and family.name in ("llama", "vit")  # their softmax
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if in_float32 else EXACT
    torch.testing.assert_close(logits(model, batch), logits(oracle, batch), **tolerance)


def test_a_sliding_window_does_not_hide_it(road: str, written_out: Any) -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = MistralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, sliding_window=3)
    model = AutoModelForCausalLM.from_config(config).double().eval()
    oracle = copy.deepcopy(model)
    written_out(oracle, attach(model))
    batch = {"input_ids": text(length=9)}
    torch.testing.assert_close(logits(model, batch), logits(oracle, batch), **EXACT)


def with_cache(model: Any, adapter: inarch.Adapter, ids: Tensor) -> Tensor:
    """What the base gives when a cache was filled with the prefix, and the positions of the tokens are kept."""
    cache = DynamicCache()
    for layer, built in enumerate(adapter.modules.values()):
        assert isinstance(built, Given)
        size = model.config.get_text_config().head_dim if hasattr(model.config, "head_dim") else 8
        pair = [tensor.detach().double().unflatten(-1, (-1, size)).transpose(0, 1) for tensor in built()]
        cache.update(*(tensor.expand(len(ids), -1, -1, -1).contiguous() for tensor in pair), layer)
    positions = torch.arange(ids.shape[1]).expand(len(ids), -1)
    mask = torch.ones(len(ids), LENGTH + ids.shape[1], dtype=torch.long)
    with adapter.disabled(), torch.no_grad():
        result = model(input_ids=ids, past_key_values=cache, position_ids=positions, attention_mask=mask)
    return result.logits


def capped() -> nn.Module:
    """Gemma 2: scores are capped by a tanh."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    config = Gemma2Config(
        **sizes,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_logit_softcapping=0.5,
        layer_types=["full_attention"] * 2,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()


def with_sinks() -> nn.Module:
    """gpt-oss: a learned score for attending to nothing."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    config = GptOssConfig(
        **sizes,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=2,
        num_experts_per_tok=1,
        layer_types=["full_attention"] * 2,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager")
    model = model.double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            nn.init.normal_(parameter)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: double(FAMILIES["llama"].model()),
    "gpt2": lambda: double(FAMILIES["gpt2"].model()),
    "capped": capped,
    "sinks": with_sinks,
}


@pytest.mark.parametrize("name", MODELS)
def test_equals_a_cache_filled_with_it(name: str) -> None:
    model = MODELS[name]()
    adapter = attach(model)
    expected = with_cache(model, adapter, text())
    torch.testing.assert_close(logits(model, {"input_ids": text()}), expected, **EXACT)


def test_flex_attention_is_refused_before_anything_is_changed() -> None:
    model = FAMILIES["llama"].model()
    model.set_attn_implementation("flex_attention")  # type: ignore[operator]
    before = snapshot(model)
    with pytest.raises(PlanError, match=r'layers\.0\.self_attn computes with "flex_attention"'):
        attach(model)
    assert_same(before, snapshot(model))


def test_detaching_leaves_no_trace(family: Family, road: str) -> None:
    model = family.model()
    gc.collect()  # models of other tests; some may be kept
    looked_up = AttentionInterface.__dict__["get_interface"]
    before, base, config = snapshot(model), logits(model, family.batch()), model.config.to_dict()  # type: ignore[operator, union-attr]
    adapter = attach(model)
    assert not torch.equal(logits(model, family.batch()), base)
    with adapter.disabled():
        assert torch.equal(logits(model, family.batch()), base)
    adapter.detach()
    assert_same(before, snapshot(model))
    assert torch.equal(logits(model, family.batch()), base)
    assert model.config.to_dict() == config  # type: ignore[operator, union-attr]
    assert AttentionInterface.__dict__["get_interface"] is looked_up


def test_several_prefixes_stand_in_order(road: str) -> None:
    model, batch = precise(FAMILIES["llama"])
    adapters = [attach(model, 3, "first"), attach(model, 4, "second", length=2)]
    both = logits(model, batch)
    parts = [[tuple(built()) for built in adapter.modules.values()] for adapter in adapters]
    for adapter in adapters:
        adapter.detach()
    one = attach(model, length=5)
    with torch.no_grad():
        for built, first, second in zip(one.modules.values(), *parts, strict=True):
            assert isinstance(built, Given)
            built.keys.copy_(torch.cat([first[0], second[0]]))
            built.values.copy_(torch.cat([first[1], second[1]]))
    torch.testing.assert_close(logits(model, batch), both, rtol=1e-12, atol=1e-12)


def test_it_cannot_be_weighed() -> None:
    adapter = attach(FAMILIES["llama"].model())
    with pytest.raises(inarch.ConfigError, match="cannot be weighed"):
        adapter.weight = 0.5


@pytest.fixture
def untapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model has an attention adapter yet, whatever other tests have kept."""
    monkeypatch.setattr(INTERFACE, "_taps", {})
    monkeypatch.setattr(INTERFACE, "_lookup", INTERFACE._Lookup())
    monkeypatch.setattr(AttentionInterface, "get_interface", UNTOUCHED)


def test_a_model_that_is_collected_leaves_no_trace(untapped: None, road: str) -> None:
    model, batch = precise(FAMILIES["llama"])
    attach(model)
    attach(FAMILIES["bert"].model())
    logits(model, batch)
    gc.collect()
    assert AttentionInterface.get_interface is not UNTOUCHED
    del model
    gc.collect()
    assert AttentionInterface.get_interface is UNTOUCHED


def test_a_failed_pass_keeps_no_model(untapped: None) -> None:
    def failing(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    AttentionInterface.register("failing", failing)
    model = FAMILIES["llama"].model()
    attach(model)
    model.config._attn_implementation = "failing"  # type: ignore[union-attr]
    with pytest.raises(ZeroDivisionError):
        model(inputs_embeds=torch.randn(1, 3, 32), attention_mask={"full_attention": None})
    del model, AttentionInterface._global_mapping["failing"]
    gc.collect()
    assert AttentionInterface.get_interface is UNTOUCHED


def test_a_copy_outlives_the_original(untapped: None, road: str) -> None:
    model, batch = precise(FAMILIES["bert"])
    adapter = attach(model)
    expected = logits(model, batch)
    twin = copy.deepcopy(model)
    adapter.detach()
    assert torch.equal(logits(twin, batch), expected)
    inarch.adapters(twin)["default"].detach()
    assert AttentionInterface.get_interface is UNTOUCHED


@pytest.mark.thorough
def test_a_pickle_is_read_in_another_process(tmp_path: Path) -> None:
    model, batch = precise(FAMILIES["llama"])
    inarch.attach(model, PrefixTuning(length=LENGTH, hidden=8), train_head=False)
    (tmp_path / "model").write_bytes(pickle.dumps((model, batch, logits(model, batch))))
    program = (
        "import pickle, sys, torch\n"
        "model, batch, expected = pickle.load(open(sys.argv[1], 'rb'))\n"
        "with torch.no_grad(): assert torch.equal(model(**batch).logits, expected)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model")], check=True)


def test_saving_the_model_does_not_name_it(tmp_path: Path) -> None:
    model = FAMILIES["llama"].model()
    model.save_pretrained(tmp_path / "before")  # type: ignore[operator]
    attach(model)
    model.config.save_pretrained(tmp_path / "after")  # type: ignore[operator, union-attr]
    before, after = ((tmp_path / name / "config.json").read_text() for name in ("before", "after"))
    assert before == after
