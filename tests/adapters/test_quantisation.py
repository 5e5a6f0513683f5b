"""Quantising a model that is there, and every method on it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import inarch
from inarch.errors import InarchError, PlanError, UnknownNameError
from inarch.quant import FourBitLinear, Int8Linear, QuantisedLinear, weight_format

from sampled import each_once

TOKENS = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(0))
WIDTH = 64


def llama() -> nn.Module:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes))


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=32))


def bert() -> nn.Module:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    return BertForSequenceClassification(BertConfig(vocab_size=40, num_labels=3, **sizes))


def t5() -> nn.Module:
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=40, d_model=WIDTH, d_ff=2 * WIDTH, d_kv=16, num_layers=2, num_heads=4, decoder_start_token_id=0
        )
    )


MODELS: dict[str, Callable[[], Any]] = {"llama": llama, "gpt2": gpt2, "bert": bert, "t5": t5}


def batch(name: str) -> dict[str, torch.Tensor]:
    return {"input_ids": TOKENS, "labels": torch.tensor([0, 2]) if name == "bert" else TOKENS}


def stored_bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())


def quantised(name: str, kind: str) -> Any:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    inarch.quantize(model, kind)
    return model


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_the_large_maps_of_the_backbone_are_exchanged_and_nothing_else(name: str, kind: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    plain, size = copy.deepcopy(model), stored_bytes(model)
    exchanged = inarch.quantize(model, kind)
    assert set(exchanged) == {n for n, module in model.named_modules() if isinstance(module, QuantisedLinear)}
    reached = {site.name for site in inarch.plan(plain, "lora").sites}
    # T5 casts hidden states to the dtype of these weights, so they stay in floating point
    assert set(exchanged) == {at for at in reached if not at.endswith("DenseReluDense.wo")}
    # the same function as that of a plain model with the dequantised weights
    for at in exchanged:
        module = model.get_submodule(at)
        weight = weight_format(module).dequantised(module)
        kept = plain.get_submodule(at).weight
        kept.data = weight.T.contiguous() if kept.shape != weight.shape or name == "gpt2" else weight
    found, expected = model(**batch(name)).logits, plain(**batch(name)).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert stored_bytes(model) < 0.7 * size


def test_routers_gates_and_tied_maps_stay() -> None:
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            vocab_size=40,
            num_experts=4,
            moe_intermediate_size=WIDTH,
            shared_expert_intermediate_size=WIDTH,
            tie_word_embeddings=True,
            **sizes,
        )
    )
    exchanged = inarch.quantize(model, "nf4")
    assert "model.layers.0.self_attn.q_proj" in exchanged
    assert "model.layers.0.mlp.shared_expert.up_proj" in exchanged
    assert not {"lm_head", "model.layers.0.mlp.shared_expert_gate", "model.layers.0.mlp.gate"} & set(exchanged)
    assert model.lm_head.weight is model.model.embed_tokens.weight


@each_once(
    method=[method for method in sorted(inarch.methods()) if not method.startswith("peft/")],
    name=["llama", "gpt2", "bert"],
    kind=["nf4", "int8"],
)
def test_every_method_trains_saves_and_merges_or_says_no(method: str, name: str, kind: str, tmp_path: Any) -> None:
    settings: dict[str, Any] = {"rank": 4} if method in ("lora", "loreft") else {}
    settings |= {"initial_rank": 4, "target_rank": 2, "steps": 20} if method == "adalora" else {}
    model = quantised(name, kind)
    base = model(**batch(name)).logits.detach()
    try:
        inarch.plan(MODELS[name](), method, **settings)
        adapter = inarch.attach(model, method, **settings)
    except InarchError:
        assert torch.equal(model(**batch(name)).logits, base)
        assert method in (
            "full",
            "head",
            "bitfit",
        )  # what trains the base weights, a head, or biases where there are none
        return
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.05)
    for _ in range(3):
        model(**batch(name)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = model(**batch(name)).logits.detach()
    assert not torch.equal(trained, base)
    adapter.save(tmp_path / "saved")
    other = quantised(name, kind)
    inarch.load(other, tmp_path / "saved")
    torch.testing.assert_close(other(**batch(name)).logits, trained, rtol=0, atol=1e-6)
    try:
        adapter.merge()
    except InarchError:
        assert torch.equal(model(**batch(name)).logits, trained)
    else:
        adapter.unmerge()
        assert torch.equal(model(**batch(name)).logits, trained)
    adapter.detach()
    assert torch.equal(model(**batch(name)).logits, base)


def test_wrong_use_is_refused_before_anything_is_changed() -> None:
    model = llama()
    with pytest.raises(UnknownNameError, match='There is no quantisation "nf5": did you mean "nf4"'):
        inarch.quantize(model, "nf5")
    adapter = inarch.attach(model, "lora")
    with pytest.raises(PlanError, match="quantise it first"):
        inarch.quantize(model, "nf4")
    adapter.detach()
    assert not any(isinstance(module, QuantisedLinear) for module in model.modules())
    with pytest.raises(PlanError, match="Nothing in this Sequential can be quantised"):
        inarch.quantize(nn.Sequential(nn.Linear(8, 8)), "nf4")
    inarch.quantize(model, "int8")
    assert isinstance(model.model.layers[0].mlp.up_proj, Int8Linear)
    with pytest.raises(PlanError, match="Nothing in this LlamaForCausalLM"):
        inarch.quantize(model, "nf4")
    assert not any(isinstance(module, FourBitLinear) for module in model.modules())
