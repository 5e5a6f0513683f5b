"""Liger: what is swapped is found by what it computes; plain torch stands in for the kernels."""

import copy
import pickle
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import inarch
from inarch.engine.feature import Declined
from inarch.engine.liger import Liger, LigerFunctions, liger_functions
from inarch.engine.probe import difference, measure

from families import FAMILIES, assert_same, perturb, snapshot

CALLS: list[Any] = []


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, offset: float, casting_mode: str) -> Tensor:
    """As liger-kernel describes its casting modes."""
    CALLS.append((epsilon, offset, casting_mode))
    dtype = x.dtype
    wide = x if casting_mode == "none" else x.float()
    y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
    if casting_mode == "gemma":
        return (y * (offset + weight.float())).to(dtype)
    return y.to(dtype) * (offset + weight)


def silu_mul(gate: Tensor, up: Tensor) -> Tensor:
    CALLS.append("silu")
    return functional.silu(gate) * up


def gelu_mul(gate: Tensor, up: Tensor) -> Tensor:
    CALLS.append("gelu")
    return functional.gelu(gate, approximate="tanh") * up


STAND_INS = LigerFunctions(rms_norm, silu_mul, gelu_mul)
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
MODELS = {
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**SIZES, rms_norm_eps=1e-5)), 5, 0.0, 1e-5, "silu"),
    "gemma2": (lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, rms_norm_eps=1e-6)), 9, 1.0, 1e-6, "gelu"),
    "qwen3": (lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, rms_norm_eps=1e-6)), 9, 0.0, 1e-6, "silu"),
}


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS[name][0]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
def test_norms_and_gated_blocks_are_found_by_what_they_compute(name: str) -> None:
    model, batch = model_of(name), FAMILIES["llama"].batch()
    _, norms, offset, epsilon, product = MODELS[name]
    adapter = inarch.attach(model, "lora", rank=2, targets=["@linear"], dropout=0.5)
    perturb(adapter)
    before, first = snapshot(model), measure(model, batch)

    feature = Liger(STAND_INS)
    assert feature.start(model, batch) == f"{norms} norms and 2 gated feed-forward blocks by liger's kernels"
    CALLS.clear()
    second = measure(model, batch)
    assert [call[:2] for call in CALLS if call not in ("silu", "gelu")] == [(epsilon, offset)] * norms
    assert [call for call in CALLS if call in ("silu", "gelu")] == [product] * 2
    assert difference(first, second).reason(torch.float32) == ""

    feature.stop(model)
    assert_same(before, snapshot(model))
    assert measure(model, batch).loss == first.loss


@pytest.mark.parametrize(("name", "mode"), [("llama", "llama"), ("gemma2", "gemma")])
def test_in_half_precision_the_casting_mode_is_found(name: str, mode: str) -> None:
    model, batch = model_of(name).to(torch.bfloat16), FAMILIES["llama"].batch()
    first = measure(model, batch)
    Liger(STAND_INS).start(model, batch)
    CALLS.clear()
    assert difference(first, measure(model, batch)).reason(torch.bfloat16) == ""
    assert {call[2] for call in CALLS if isinstance(call, tuple)} == {mode}


def test_copies_and_pickles_of_the_model_compute_with_their_own_weights() -> None:
    model, batch = model_of("llama"), FAMILIES["llama"].batch()
    feature = Liger(STAND_INS)
    feature.start(model, batch)
    first = measure(model, batch)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        assert measure(other, batch).loss == first.loss
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(1.0)


class LikeANorm(nn.Module):
    """With another norm than its looks say."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.weight, self.eps, self.kind = nn.Parameter(torch.ones(8)), 1e-6, kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "l2":
            return functional.normalize(x, dim=-1) * self.weight
        if self.kind == "centred":
            x = x - x.mean(-1, keepdim=True)
        if self.kind == "no gradient":
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True).detach() + self.eps) * self.weight
        if self.kind == "breaks":
            raise RuntimeError
        return (
            x
            * torch.rsqrt(x.square().mean(-1, keepdim=True) + (1e-3 if self.kind == "own epsilon" else self.eps))
            * self.weight
        )


@pytest.mark.parametrize("kind", ["l2", "centred", "no gradient", "breaks", "own epsilon"])
def test_what_computes_something_else_is_left(kind: str) -> None:
    model = nn.Sequential(LikeANorm(kind), nn.Linear(8, 8))
    before = snapshot(model)
    with pytest.raises(Declined, match="no module computes an RMS norm"):
        Liger(STAND_INS).start(model, {})
    assert_same(before, snapshot(model))
    plain = nn.Sequential(LikeANorm("rms"), nn.Linear(8, 8))
    assert Liger(STAND_INS).start(plain, {}).startswith("1 norms and 0 gated")


def test_an_activation_that_liger_has_not_is_left() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES, hidden_act="gelu"))  # the exact one
    assert Liger(STAND_INS).start(model, {}) == "5 norms and 0 gated feed-forward blocks by liger's kernels"


def test_other_arguments_and_other_dtypes_take_the_module_s_own_way() -> None:
    model = model_of("llama")
    Liger(STAND_INS).start(model, {})
    norm = model.get_submodule("model.norm")
    CALLS.clear()
    x = torch.randn(2, 32, dtype=torch.bfloat16)
    torch.testing.assert_close(norm(x), type(norm).forward(norm, x))
    assert CALLS == []


@pytest.mark.thorough
def test_compiled_code_takes_the_module_s_own_way() -> None:
    model, batch = model_of("llama"), FAMILIES["llama"].batch()
    expected = model(**batch).loss
    Liger(STAND_INS).start(model, batch)
    CALLS.clear()
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(**batch).loss, expected)
    assert CALLS == []


def test_without_a_gpu_it_is_declined() -> None:
    with pytest.raises(Declined, match="liger needs a GPU, and the model is on cpu"):
        Liger().start(model_of("llama"), {})


def test_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(inarch.ConfigError, match=r"pip install 'inarch\[liger\]'"):
        liger_functions()
