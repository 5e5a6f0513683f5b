import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch

from inarch import ConfigError
from inarch.training import Table
from inarch_benchmarks.comparison import Base
from inarch_benchmarks.published import hub
from inarch_benchmarks.published import xsum as module
from inarch_benchmarks.published.hub import Split
from inarch_benchmarks.published.xsum import XSum

from hub_stand_ins import train


@dataclass
class Found:
    fmeasure: float


class SharedWords:
    """A stand-in for the scorer of rouge_score: F1 over distinct words, the same for every kind."""

    def __init__(self, kinds: Sequence[str], use_stemmer: bool) -> None:
        assert use_stemmer
        self.kinds = kinds

    def score(self, target: str, prediction: str) -> dict[str, Found]:
        one, other = set(target.split()), set(prediction.split())
        return dict.fromkeys(self.kinds, Found(2 * len(one & other) / max(1, len(one) + len(other))))


@pytest.fixture
def rouge(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = ModuleType("rouge_score.rouge_scorer")
    scorer.RougeScorer = SharedWords  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rouge_score", ModuleType("rouge_score"))
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", scorer)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATION", 5)
    monkeypatch.setattr(module, "DECODING", module.DECODING | {"num_beams": 2, "max_length": 8})


def test_lessons_load_and_score(xsum: Path, rouge: None, bases: dict[str, Base]) -> None:
    task, base = XSum(), bases["bart"]
    lessons = task.lessons(base, seed=0)
    assert (len(lessons.training), len(lessons.validation)) == (40, 5)
    model = task.load(base, seed=0)
    losses = train(model, task, lessons, steps=40, rate=1e-2)
    assert losses[-1] < losses[0]
    with torch.no_grad():
        score = task.score(model, task.examination(base))
    assert set(score.metrics) == {"rouge1", "rouge2", "rougeL"}
    assert len(score.items) == 12
    assert score.metrics["rougeL"] == pytest.approx(sum(score.items) / 12)


def test_a_summary_that_is_right_has_all_of_it(
    xsum: Path, rouge: None, bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(model: object, tokenizer: object, texts: list[str], *rest: object, **how: object) -> list[str]:
        return [" ".join(text.split()[:3]) for text in texts]

    monkeypatch.setattr(module, "generate", generate)
    task, base = XSum(), bases["bart"]
    score = task.score(task.load(base, 0), task.lessons(base, 0).validation)
    assert score.metrics == {"rougeL": 1.0, "rouge1": 1.0, "rouge2": 1.0}
    assert score.items == [1.0] * 5


def test_lessons_never_touch_the_test(xsum: Path, bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch) -> None:
    read = hub.read

    def guarded(split: Split) -> Table:
        assert split.name != "test", f"the test split {split} was read"
        return read(split)

    monkeypatch.setattr(hub, "read", guarded)
    XSum().lessons(bases["bart"], seed=0)
    with pytest.raises(AssertionError, match="the test split"):
        XSum().examination(bases["bart"])


def test_articles_and_summaries_are_cut(xsum: Path, bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SUMMARY", 2)
    monkeypatch.setattr(XSum, "longest", 6)
    batch = XSum().lessons(bases["bart"], 0).training.batch(range(8))
    assert batch["input_ids"].shape == (8, 6)
    assert batch["labels"].shape == (8, 2)


def test_without_the_scorer_the_extra_is_named(
    xsum: Path, bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    task, base = XSum(), bases["bart"]
    with pytest.raises(ConfigError, match=r"pip install inarch\[published\]"):
        task.score(task.load(base, 0), task.examination(base))


def test_the_real_scorer_counts_as_rouge_does() -> None:
    scorers = pytest.importorskip("rouge_score.rouge_scorer")
    found = scorers.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(
        "the cat sat down", "the cats sat"
    )
    # by hand: 3 of 4 and of 3 words; no, 2 of 3 and of 2 pairs once "cats" is stemmed; a common subsequence of 3
    assert found["rouge1"].fmeasure == pytest.approx(2 * 3 / (4 + 3))
    assert found["rouge2"].fmeasure == pytest.approx(2 * 2 / (3 + 2))
    assert found["rougeL"].fmeasure == pytest.approx(2 * 3 / (4 + 3))
