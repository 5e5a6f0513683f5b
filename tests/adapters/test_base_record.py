"""A base is known again in floating point and quantised, and another one is not taken for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.pytorch_utils import Conv1D

import inarch
from inarch.adapters.base_sample import COARSEST, may_be_rounded, may_have_been, rounded_values, values
from inarch.errors import WrongBaseError
from inarch.kernels import CODEBOOKS
from inarch.quant import FourBitLinear, Int8Linear, QuantisedLinear

from sampled import one_of

WIDTH = 64
SIZES = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=40, **SIZES)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=32, **IDS)
    ),
    "bert": lambda: BertForSequenceClassification(BertConfig(vocab_size=40, num_labels=3, **SIZES)),
}
KINDS = ("nf4", "fp4", "int8")


def made(name: str, kind: str | None = None, *, seed: int | None = None) -> Any:
    """A base, or with ``seed`` one that differs from it in the maps of its backbone alone."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    if seed is not None:
        torch.manual_seed(seed)
        for site in inarch.plan(model, "lora").sites:
            site.module.weight.data.normal_(std=0.02)
    if kind:
        inarch.quantize(model, kind)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", one_of(MODELS))
def test_quantised_and_floating_point_are_one_base(name: str, kind: str, tmp_path: Path) -> None:
    for trained, loaded in ((None, kind), (kind, None), (kind, kind), (kind, "int8"), ("int8", kind)):
        adapter = inarch.attach(made(name, trained), "lora")
        adapter.save(tmp_path)
        inarch.load(made(name, loaded), tmp_path)
        inarch.load(made(name, loaded).to(torch.bfloat16), tmp_path)
        with pytest.raises(WrongBaseError, match="trained on other weights"):
            inarch.load(made(name, loaded, seed=1), tmp_path)


@pytest.mark.parametrize("settings", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}])
def test_bitsandbytes_bases_too(settings: dict[str, Any], tmp_path: Path) -> None:
    made("llama").save_pretrained(tmp_path / "base")
    config = BitsAndBytesConfig(**settings)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "base", quantization_config=config)
    inarch.attach(theirs, "lora").save(tmp_path / "adapter")
    inarch.load(made("llama"), tmp_path / "adapter")
    inarch.load(made("llama", "nf4"), tmp_path / "adapter")
    inarch.attach(made("llama"), "lora").save(tmp_path / "floats")
    inarch.load(LlamaForCausalLM.from_pretrained(tmp_path / "base", quantization_config=config), tmp_path / "floats")


def test_records_without_quantised_values_are_read(tmp_path: Path) -> None:
    inarch.attach(made("llama", "nf4"), "lora").save(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    with safe_open(file, framework="pt") as opened:
        record = json.loads(opened.metadata()["inarch"])
    assert record["base"].pop("quantised")
    save_file(load_file(file), file, {"format": "pt", "inarch": json.dumps(record)})
    inarch.load(made("llama"), tmp_path)
    inarch.load(made("llama", "nf4"), tmp_path)


def test_the_coarsest_format_rounds_within_the_bound() -> None:
    widest = max(float(code.sort().values.diff().max()) for code in CODEBOOKS.values())
    assert widest / 2 < COARSEST


@pytest.mark.parametrize("shape", [(64, 64), (80, 96), (96, 80), (70, 100), (1, 64)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_values_of_a_quantised_weight_are_those_of_the_weight_rounded(
    kind: str, turned: bool, shape: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    linear: nn.Module = nn.Linear(shape[1], shape[0])
    if turned:
        linear = Conv1D(shape[0], shape[1])
    kept = weight.T.contiguous() if turned else weight
    linear.weight = nn.Parameter(kept)
    layer: QuantisedLinear = Int8Linear.of(linear) if kind == "int8" else FourBitLinear.of(linear, kind)  # type: ignore[arg-type]
    whole = layer.weight.stored.dequantise()
    found = rounded_values(layer.weight, turned=turned)
    assert found["values"] == values(whole.T.contiguous() if turned else whole)
    assert all(
        abs(one - other) <= bound
        for one, other, bound in zip(found["values"], values(kept), found["within"], strict=True)
    )
    assert may_be_rounded(layer.weight, values(kept))
    assert may_have_been(kept, rounded_values(layer.weight))
    other = torch.randn(kept.shape, generator=generator) * 3
    assert not may_be_rounded(layer.weight, values(other))
    assert not may_have_been(other, rounded_values(layer.weight))


def test_the_last_value_of_a_large_tensor_is_read() -> None:
    large = torch.ones(1).expand(32000 * 4096)  # float32 has no 131,071,999
    assert values(large) == [1.0] * 4
