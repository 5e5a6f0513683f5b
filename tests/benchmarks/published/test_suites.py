"""The shipped suites of papers: what they name exists, and their methods have the papers' sizes on the papers' models.

The models are built from their configurations on the meta device: nothing is downloaded and no memory is used.
"""

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    LlamaConfig,
    RobertaConfig,
)

import inarch
from inarch_benchmarks.comparison.resolve import recipe_of
from inarch_benchmarks.comparison.suite import Suite, read_suite
from inarch_benchmarks.published.plugin import TASKS

SUITES = ("glue-roberta-base", "glue-deberta-v3-base", "math-llama-3.2-3b", "summarisation-bart-large", "clue-bert")
TASK_NAMES = {task.name: task for task in TASKS}


@cache
def base(suite: str) -> nn.Module:
    """The suite's base, from the configuration that its checkpoint has on the hub."""
    config, auto_class = {
        "glue-roberta-base": (
            RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
            AutoModelForSequenceClassification,
        ),
        "glue-deberta-v3-base": (
            DebertaV2Config(
                vocab_size=128100,
                type_vocab_size=0,
                relative_attention=True,
                position_buckets=256,
                norm_rel_ebd="layer_norm",
                share_att_key=True,
                pos_att_type=["p2c", "c2p"],
                position_biased_input=False,
                hidden_size=768,
                num_hidden_layers=12,
                num_attention_heads=12,
                intermediate_size=3072,
            ),
            AutoModelForSequenceClassification,
        ),
        "math-llama-3.2-3b": (
            LlamaConfig(
                vocab_size=128256,
                hidden_size=3072,
                intermediate_size=8192,
                num_hidden_layers=28,
                num_attention_heads=24,
                num_key_value_heads=8,
                head_dim=128,
                tie_word_embeddings=True,
            ),
            AutoModelForCausalLM,
        ),
        "summarisation-bart-large": (BartConfig(vocab_size=50265), AutoModelForSeq2SeqLM),
        "clue-bert": (BertConfig(vocab_size=21128), AutoModelForSequenceClassification),
    }[suite]
    with torch.device("meta"):
        model: nn.Module = auto_class.from_config(config)
    return model


@cache
def trained(suite: str, label: str) -> dict[str, int]:
    """What a contender of a suite trains without the head: when training begins, and what it keeps."""
    entry = next(entry for entry in read_suite(suite).methods if entry.called == label)
    method = inarch.method(entry.method, **entry.settings)
    return {"peak": _count(suite, method), "kept": _count(suite, method.effective())}


def _count(suite: str, method: inarch.Method) -> int:
    report = inarch.plan(base(suite), method).report()
    return report.trainable - report.trainable_head


@pytest.mark.parametrize("name", SUITES)
def test_what_a_suite_names_exists(name: str) -> None:
    suite = read_suite(name)
    assert suite.name == name
    assert suite.about
    assert suite.notes
    assert suite.seeds >= 5
    tasks = {entry.name for entry in suite.tasks}
    assert tasks <= set(TASK_NAMES)
    for entry in suite.methods:
        inarch.method(entry.method, **entry.settings)
        if isinstance(entry.learning_rate, dict):
            assert set(entry.learning_rate) == tasks
    assert {row.task for row in suite.published} <= tasks
    assert {TASK_NAMES[entry.name].model for entry in suite.tasks} >= set(suite.models) or "deberta" in name


@pytest.mark.parametrize("name", SUITES)
def test_every_contender_can_be_attached(name: str) -> None:
    suite = read_suite(name)
    for entry in suite.methods:
        assert trained(name, entry.called)["kept"] > 0


# The papers' and peft's counts to the last digit, without the head.
EXACT = [
    # arXiv:2106.09685: rank 8 at the queries and values of 12 layers of width 768
    ("glue-roberta-base", "LoRA r8", 294_912),
    # arXiv:1902.00751, section 2.1: 2 m d + m + d a bottleneck of m beside d = 768, one in each of 12 layers
    ("glue-roberta-base", "adapter 16", 12 * (2 * 16 * 768 + 16 + 768)),
    ("glue-roberta-base", "adapter 48", 12 * (2 * 48 * 768 + 48 + 768)),
    # arXiv:2303.10512: every rank of a layer takes 4 (768 + 768) + 2 (768 + 3072) numbers
    ("glue-deberta-v3-base", "LoRA r8", 8 * 12 * 13_824),
    ("glue-deberta-v3-base", "LoRA r2", 2 * 12 * 13_824),
    ("glue-deberta-v3-base", "AdaLoRA 8", 8 * 12 * (13_824 + 6)),
    ("glue-deberta-v3-base", "AdaLoRA 2", 2 * 12 * (13_824 + 6)),
    # huggingface/peft, method_comparison/MetaMathQA, num_trainable_params of its results
    ("math-llama-3.2-3b", "LoRA r32", 9_175_040),
    ("math-llama-3.2-3b", "rsLoRA r64", 18_350_080),
    ("math-llama-3.2-3b", "LoRA r10 on MLP", 9_461_760),
    ("math-llama-3.2-3b", "DoRA r32", 9_289_728),
    ("math-llama-3.2-3b", "(IA)3 on all maps", 630_784),
    ("math-llama-3.2-3b", "prefix 200", 11_468_800),
    ("math-llama-3.2-3b", "VeRA r256", 129_024),
    # arXiv:2101.00190: keys and values of width 1024 in 12 encoder, 12 decoder and 12 cross attentions
    ("summarisation-bart-large", "prefix 100", 36 * 2 * 1024 * 100),
    ("summarisation-bart-large", "prefix 5", 36 * 2 * 1024 * 5),
]


@pytest.mark.parametrize(("suite", "label", "parameters"), EXACT)
def test_sizes_are_exactly_those_published(suite: str, label: str, parameters: int) -> None:
    assert trained(suite, label)["kept"] == parameters


def test_adalora_begins_at_what_peft_counts() -> None:
    assert trained("math-llama-3.2-3b", "AdaLoRA 32") == {"peak": 18_353_664, "kept": 18_353_664 // 2}


# As the papers round them; shares are of the base.
ROUNDED = [
    ("glue-roberta-base", "LoRA r8", "0.3M"),
    ("glue-roberta-base", "adapter 16", "0.3M"),
    ("glue-roberta-base", "adapter 48", "0.9M"),
    ("glue-roberta-base", "BitFit", "0.1M"),
    ("glue-deberta-v3-base", "LoRA r8", "1.33M"),
    ("glue-deberta-v3-base", "LoRA r2", "0.33M"),
    ("glue-deberta-v3-base", "Houlsby 8", "0.31M"),
    ("glue-deberta-v3-base", "Pfeiffer 16", "0.30M"),
    ("glue-deberta-v3-base", "BitFit", "0.1M"),
    ("summarisation-bart-large", "prefix 100", "2%"),
    ("summarisation-bart-large", "prefix 5", "0.1%"),
]


@pytest.mark.parametrize(("suite", "label", "published"), ROUNDED)
def test_sizes_round_to_those_published(suite: str, label: str, published: str) -> None:
    kept, digits = trained(suite, label)["kept"], len(published.partition(".")[2][:-1])
    whole = sum(parameter.numel() for parameter in base(suite).parameters())
    found = f"{kept / 1e6:.{digits}f}M" if published.endswith("M") else f"{100 * kept / whole:.{digits}f}%"
    assert found == published


# The notes say that these differ: what the paper's own sizes come to, and what it prints.
@pytest.mark.parametrize(
    ("suite", "label", "comes_to", "printed"),
    [
        ("glue-deberta-v3-base", "Houlsby 32", "1.20", 1.22),
        ("glue-deberta-v3-base", "Pfeiffer 64", "1.19", 1.18),
        # ranks move to smaller maps, which the plan cannot know
        ("glue-deberta-v3-base", "AdaLoRA 8", "1.33", 1.27),
        ("glue-deberta-v3-base", "AdaLoRA 2", "0.33", 0.32),
        # 2.20% and 1.10% of BART-large's 406 million
        ("summarisation-bart-large", "LoRA r16", "8.65", 0.0220 * 406.3),
        ("summarisation-bart-large", "LoRA r8", "4.33", 0.0110 * 406.3),
        ("summarisation-bart-large", "AdaLoRA 8", "4.33", 0.0110 * 406.3),
    ],
)
def test_sizes_that_are_near_those_published(suite: str, label: str, comes_to: str, printed: float) -> None:
    kept = trained(suite, label)["kept"]
    assert f"{kept / 1e6:.2f}" == comes_to
    assert abs(kept / 1e6 / printed - 1) < 0.05


@pytest.mark.parametrize(
    ("suite", "millions"),
    [
        ("glue-roberta-base", 125),
        ("glue-deberta-v3-base", 184),
        ("math-llama-3.2-3b", 3213),
        ("summarisation-bart-large", 406),
    ],
)
def test_the_bases_have_their_published_sizes(suite: str, millions: int) -> None:
    assert round(sum(parameter.numel() for parameter in base(suite).parameters()) / 1e6) == millions


def test_the_head_of_roberta_is_counted_apart() -> None:
    entry = read_suite("glue-roberta-base").methods[0]
    report = inarch.plan(base("glue-roberta-base"), entry.method, **entry.settings).report()
    assert report.trainable == 887_042  # 294,912 and a head of 592,130


# arXiv:2106.09685, table 9: epochs, batch size and learning rate of LoRA on RoBERTa-base
TABLE_9 = {
    "glue/mnli": (30, 16, 5e-4),
    "glue/sst2": (60, 16, 5e-4),
    "glue/mrpc": (30, 16, 4e-4),
    "glue/cola": (80, 32, 4e-4),
    "glue/qnli": (25, 32, 4e-4),
    "glue/qqp": (25, 16, 5e-4),
    "glue/rte": (80, 32, 5e-4),
    "glue/stsb": (40, 16, 4e-4),
}
# arXiv:2303.10512, table 8: epochs, batch size and learning rate of AdaLoRA on DeBERTaV3-base
TABLE_8 = {
    "glue/mnli": (7, 32, 5e-4),
    "glue/rte": (50, 32, 1.2e-3),
    "glue/qnli": (5, 32, 1.2e-3),
    "glue/mrpc": (30, 32, 1e-3),
    "glue/qqp": (5, 32, 5e-4),
    "glue/sst2": (24, 32, 8e-4),
    "glue/cola": (25, 32, 5e-4),
    "glue/stsb": (25, 32, 2.2e-3),
}


@pytest.mark.parametrize(("name", "table"), [("glue-roberta-base", TABLE_9), ("glue-deberta-v3-base", TABLE_8)])
def test_glue_is_trained_as_the_papers_say(
    name: str, table: dict[str, tuple[int, int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = read_suite(name)
    rates: Any = suite.methods[0].learning_rate
    assert {entry.name for entry in suite.tasks} == set(table)
    for entry in suite.tasks:
        recipe = _recipe(suite, entry.name, monkeypatch)
        assert (recipe.epochs, recipe.batch_size, rates[entry.name]) == table[entry.name]


def test_mathematics_is_trained_as_peft_does(monkeypatch: pytest.MonkeyPatch) -> None:
    suite = read_suite("math-llama-3.2-3b")
    recipe = _recipe(suite, "math/gsm8k", monkeypatch)
    assert recipe.model_dump(exclude={"accumulation", "precision"}) == {
        "steps": 5000,
        "epochs": None,
        "batch_size": 4,
        "warmup": 0.1,
        "schedule": "cosine",
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
    }
    assert {entry.called: entry.learning_rate for entry in suite.methods} == {
        "LoRA r32": 1e-4,
        "rsLoRA r64": 1e-4,
        "LoRA r10 on MLP": 1e-4,
        "DoRA r32": 1e-4,
        "AdaLoRA 32": 1e-4,
        "(IA)3 on all maps": 5e-3,
        "prefix 200": 5e-3,
        "VeRA r256": 1e-3,
    }


# Items of each test, as on the hub's pages, where a score is a share of them.
ITEMS: dict[str, set[int | None]] = {
    "glue/sst2": {872},
    "glue/mrpc": {408},
    "glue/qnli": {5463},
    "glue/qqp": {40430},
    "glue/rte": {277},
    "glue/mnli": {9815, 9815 + 9832},
    "glue/cola": {None},
    "glue/stsb": {None},
    "math/gsm8k": {1319},
    "summarisation/xsum": {None},
    "clue/tnews": {10000},
    "clue/afqmc": {3861},
}


@pytest.mark.parametrize("name", SUITES)
def test_published_rows_have_items_where_they_are_shares(name: str) -> None:
    for row in read_suite(name).published:
        assert row.items in (ITEMS[row.task] if row.note != "probably F1" else {None})


def test_tables_are_whole() -> None:
    by_label: dict[str, list[float]] = {}
    for row in read_suite("glue-roberta-base").published:
        by_label.setdefault(row.label, []).append(row.score)
    printed = {
        "full fine-tuning (copied)": 86.4,
        "BitFit (copied)": 85.2,
        "AdapterDrop 0.3M (copied)": 84.4,
        "AdapterDrop 0.9M (copied)": 85.4,
        "LoRA r8": 87.2,
    }  # the last column of arXiv:2106.09685, table 2
    assert by_label.keys() == printed.keys()
    for label, scores in by_label.items():
        assert sum(scores) / 8 == pytest.approx(printed[label], abs=0.0501)


def _recipe(suite: Suite, task: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("inarch_benchmarks.comparison.resolve.task", lambda name: TASK_NAMES[name]())
    return recipe_of(suite, next(entry for entry in suite.tasks if entry.name == task))
