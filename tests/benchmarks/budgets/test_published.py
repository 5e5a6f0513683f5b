"""Sizes and counts that papers and peft's comparison of methods have published, on models of those shapes.

They are built from their configurations on the meta device, so nothing is downloaded and no memory is used.
"""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

import inarch
from inarch_benchmarks.budgets import fit, parameters_without_head

QUERY_VALUE = ("@attention.query", "@attention.value")


def _roberta() -> nn.Module:
    return RobertaForSequenceClassification(RobertaConfig(vocab_size=50265, max_position_embeddings=514, num_labels=2))


def _deberta() -> nn.Module:
    return DebertaV2ForSequenceClassification(
        DebertaV2Config(
            vocab_size=128100,
            hidden_size=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=3072,
            type_vocab_size=0,
            relative_attention=True,
            position_buckets=256,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
        )
    )


def _llama() -> nn.Module:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=128256,
            hidden_size=3072,
            intermediate_size=8192,
            num_hidden_layers=28,
            num_attention_heads=24,
            num_key_value_heads=8,
            head_dim=128,
            tie_word_embeddings=True,
        )
    )


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {"roberta": _roberta(), "deberta": _deberta(), "llama": _llama()}


EXACT: list[tuple[str, str, dict[str, Any], int, int | None]] = [
    # LoRA, arXiv:2106.09685, section 5.2 and table 9: rank 8 at the queries and values of RoBERTa-base
    ("roberta", "lora", {"targets": QUERY_VALUE}, 294_912, 8),
    # peft's comparison of methods, MetaMathQA, Llama-3.2-3B: method_comparison/MetaMathQA in its repository
    ("llama", "lora", {"targets": QUERY_VALUE}, 9_175_040, 32),
    ("llama", "lora", {"targets": QUERY_VALUE, "rank_stabilised": True}, 18_350_080, 64),
    ("llama", "lora", {"targets": QUERY_VALUE, "dora": True}, 9_289_728, 32),
    ("llama", "lora", {"targets": ("@mlp.up", "@mlp.gate", "@mlp.down")}, 9_461_760, 10),
    ("llama", "prefix", {}, 11_468_800, 200),
    ("llama", "vera", {"targets": QUERY_VALUE}, 129_024, 256),
    ("llama", "ia3", {"targets": ("*_proj",), "feedforward": ("*.mlp.*",)}, 630_784, None),
    ("llama", "full", {}, 3_212_749_824, None),
    pytest.param("llama", "peft/lora", {"targets": ("q_proj", "v_proj")}, 9_175_040, 32, marks=pytest.mark.thorough),
    pytest.param("llama", "peft/prefix_tuning", {"num_virtual_tokens": 2}, 11_468_800, 200, marks=pytest.mark.thorough),
    pytest.param("llama", "peft/vera", {"targets": ("q_proj", "v_proj")}, 129_024, 256, marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("model", "method", "settings", "published", "size"), EXACT)
def test_published_counts_are_met_by_the_published_sizes(
    models: dict[str, nn.Module], model: str, method: str, settings: dict[str, Any], published: int, size: int | None
) -> None:
    found = fit(models[model], inarch.method(method, **settings), published)
    assert (found.size, found.parameters, found.deviation) == (size, published, 0)


@pytest.mark.parametrize("method", ["adalora", pytest.param("peft/adalora", marks=pytest.mark.thorough)])
def test_the_published_count_of_adalora_is_its_peak(models: dict[str, nn.Module], method: str) -> None:
    settings: dict[str, Any] = {"targets": QUERY_VALUE, "initial_rank": 64, "target_rank": 32}
    if method == "peft/adalora":
        settings = {"targets": ("q_proj", "v_proj"), "init_r": 64, "target_r": 32, "total_step": 5000}
    # a triplet at a query holds 3072 + 1 + 3072 numbers, at a value 3072 + 1 + 1024
    effective = 28 * 32 * (3072 + 1 + 3072 + 3072 + 1 + 1024)
    found = fit(models["llama"], inarch.method(method, **settings), effective)
    assert (found.size, found.parameters) == (32, effective)
    assert found.peak == 2 * effective == 18_353_664


ROUNDED: list[tuple[str, dict[str, Any], int, str]] = [
    # AdaLoRA, arXiv:2303.10512, table 1: all six maps of a layer of DeBERTaV3-base, in millions
    ("lora", {}, 8, "1.33"),
    ("lora", {}, 2, "0.33"),
    ("bottleneck", {}, 8, "0.31"),
    ("bottleneck", {"placement": "pfeiffer"}, 16, "0.30"),
]


@pytest.mark.parametrize(("method", "settings", "size", "published"), ROUNDED)
def test_published_counts_of_deberta(
    models: dict[str, nn.Module], method: str, settings: dict[str, Any], size: int, published: str
) -> None:
    found = fit(models["deberta"], inarch.method(method, **settings), round(float(published) * 1e6))
    assert found.size == size
    assert f"{found.parameters / 1e6:.2f}" == published


def test_the_bases_have_their_published_sizes(models: dict[str, nn.Module]) -> None:
    assert parameters_without_head(models["llama"]) == 3_212_749_824
    report = inarch.plan(models["roberta"], "lora", targets=QUERY_VALUE).report()
    assert report.trainable == 887_042  # with the head of two labels
    assert round(parameters_without_head(models["deberta"]) / 1e6) == 184
