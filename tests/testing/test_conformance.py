"""Checking: what the table says, and what it refuses."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.testing import FAMILIES, LAWS, Conformance, Family, Finding, Outcome, check
from inarch.testing.laws.law import Law

import broken_methods as broken
from broken_methods import Good, building


@dataclass
class Answer:
    logits: Tensor
    loss: Tensor | None


class Plain(nn.Module):
    """A model of the author's own, which transformers knows nothing of."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(layers))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Answer:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return Answer(x, None if labels is None else nn.functional.cross_entropy(x, labels))


PLAIN = Family("plain", Plain, lambda rows: {"x": torch.randn(rows, 8), "labels": torch.arange(rows)})


def test_a_family_of_one_s_own() -> None:
    result = check(Good(targets=("@linear",)), models=[PLAIN])
    outcomes = {finding.law.name: finding.outcome for finding in result.findings}
    assert outcomes.pop("holds-on-quantised-bases") is Outcome.NOT_RUN
    assert set(outcomes.values()) == {Outcome.HELD}, str(result)
    assert "not run: 7 holds-on-quantised-bases, on plain: Plain is no model of transformers" in str(result)
    result.require()


def test_a_library_that_is_missing_is_no_fault_of_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **settings: Any) -> None:
        raise ImportError("no bitsandbytes")

    monkeypatch.setattr("transformers.BitsAndBytesConfig", missing)
    (finding,) = check(Good(), models=["llama"], laws=[7]).findings
    assert finding.outcome is Outcome.NOT_RUN
    assert "No base in 4 bits here: ImportError: no bitsandbytes" in finding.reason


def test_require_says_all_that_is_broken() -> None:
    result = check(building(broken.NotAtZero), models=["llama", "gpt2"], laws=[2, "survives-a-file"])
    assert not result.holds
    assert [(finding.law.number, finding.model) for finding in result.broken] == [(2, "llama"), (2, "gpt2")]
    with pytest.raises(AssertionError, match=r"good: 2 broken\nbroken: 2 starts-from-the-base, on llama: Attached, it"):
        result.require()


def test_an_error_is_placed_in_the_method_s_own_file() -> None:
    (finding,) = check(broken.Raises(), models=["llama"], laws=[2]).findings
    assert finding.reason.startswith("ZeroDivisionError: by zero (broken_methods.py:")
    assert isinstance(finding.error, ZeroDivisionError)


def test_a_method_that_every_model_refuses_does_not_hold() -> None:
    result = check(broken.TargetsNothing(), models=["llama", "bert"], laws=[2, 3])
    assert {finding.outcome for finding in result.findings} == {Outcome.REFUSED}
    assert not result.broken
    assert not result.holds
    with pytest.raises(AssertionError, match="attaches to none of the models"):
        result.require()


def test_reasons_are_said_once_and_the_worst_first() -> None:
    law, other, third = (Law(number, LAWS[number - 1].hold) for number in (1, 2, 3))
    findings = (
        Finding(law, "a", Outcome.REFUSED, "no"),
        Finding(law, "b", Outcome.HELD),
        Finding(other, "a", Outcome.REFUSED, "no"),
        Finding(other, "b", Outcome.BROKEN, "wrong"),
        Finding(third, "a", Outcome.REFUSED, "no"),
        Finding(third, "b", Outcome.NOT_RUN, "nothing to run it on"),
    )
    assert list(Conformance(Good(), findings).reasons()) == [
        "broken: 2 starts-from-the-base, on b: wrong",
        "not run: 3 trains-only-itself, on b: nothing to run it on",
        "refused: every law, on a: no",
    ]


def test_each_finding_is_watched() -> None:
    seen: list[Finding] = []
    result = check("lora", models=["llama"], laws=[2, 9], watch=seen.append)
    assert tuple(seen) == result.findings
    assert [finding.to_dict()["number"] for finding in seen] == [2, 9]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"models": ["lama"]}, 'did you mean "llama"'),
        ({"laws": ["merge"]}, 'did you mean "merges"'),
        ({"laws": [0]}, 'no law "0"'),
    ],
)
def test_wrong_names_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(inarch.UnknownNameError, match=said):
        check("lora", **given)


def test_a_check_leaves_the_process_as_it_was(recwarn: pytest.WarningsRecorder) -> None:
    import logging

    before, level = torch.get_rng_state(), logging.getLogger("bitsandbytes").level
    check("lora", models=["gpt2"], laws=[2, 7])
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger("bitsandbytes").level == level
    assert not recwarn.list


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_small_and_always_the_same(name: str) -> None:
    family = FAMILIES[name]
    one, other = family.model(seed=3), family.model(seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert sum(parameter.numel() for parameter in one.parameters()) < 60_000
    assert not one.training
    batch = family.batch(seed=4, rows=3)
    assert all(torch.equal(value, family.batch(seed=4, rows=3)[key]) for key, value in batch.items())
    assert {value.shape[0] for value in batch.values()} == {3}
    assert family.inputs(seed=4, rows=3).keys() == batch.keys() - {"labels"}
    with torch.no_grad():
        assert one(**batch).loss.isfinite()
    assert len(list(family.model(layers=1).parameters())) < len(list(one.parameters()))
    drawing = [module for module in one.modules() if isinstance(module, nn.Dropout) and module.p]
    assert not drawing


def test_laws_are_numbered_and_named() -> None:
    assert [law.number for law in LAWS] == list(range(1, 11))
    assert len({law.name for law in LAWS}) == 10
    assert all(law.promise.endswith(".") for law in LAWS)
