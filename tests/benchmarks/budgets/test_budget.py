"""Budgets as a suite writes them."""

import pytest
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from inarch import ConfigError
from inarch_benchmarks.budgets import Budget, parameters_of, parameters_without_head

from families import FAMILIES


@pytest.mark.parametrize(
    ("given", "number", "is_share", "written"),
    [
        (5000, 5000, False, "5,000"),
        ("5000", 5000, False, "5,000"),
        ("5,000", 5000, False, "5,000"),
        (" 1_000_000 ", 1_000_000, False, "1,000,000"),
        ("1e6", 1_000_000, False, "1,000,000"),
        ("1%", 0.01, True, "1%"),
        ("0.5 %", 0.005, True, "0.5%"),
        ("100%", 1, True, "100%"),
    ],
)
def test_what_is_read(given: str | int, number: float, is_share: bool, written: str) -> None:
    budget = Budget.parse(given)
    assert (budget.number, budget.is_share, str(budget)) == (number, is_share, written)
    assert Budget.parse(written) == budget


@pytest.mark.parametrize("given", ["", "many", "0", 0, -5, "-1%", "0%", "101%", 2.5, True, "nan", "inf", "1%%", "nan%"])
def test_what_is_refused(given: str | float) -> None:
    with pytest.raises(ConfigError, match="neither a number of parameters"):
        Budget.parse(given)


def test_a_share_is_of_the_base_without_its_head() -> None:
    model = FAMILIES["bert"].model()
    head = 3 * 32 + 3
    base = sum(parameter.numel() for parameter in model.parameters()) - head
    assert parameters_without_head(model) == base
    assert Budget.parse("1%").parameters(model) == round(parameters_without_head(model) / 100)
    assert Budget.parse("0.000001%").parameters(model) == 1
    assert parameters_of(77, model) == 77
    assert parameters_of("1%", model) == Budget.parse("1%").parameters(model)


def test_a_tied_parameter_counts_once() -> None:
    config = LlamaConfig(
        vocab_size=10, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
        tie_word_embeddings=True,
    )  # fmt: skip
    assert parameters_without_head(LlamaForCausalLM(config)) == 10 * 4 + 4 * 16 + 3 * 16 + 3 * 4
    assert parameters_without_head(nn.Linear(3, 2)) == 8
