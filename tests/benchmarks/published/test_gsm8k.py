from fractions import Fraction
from pathlib import Path

import pytest
import torch

from inarch.training import Table
from inarch_benchmarks.comparison import Base
from inarch_benchmarks.published import gsm8k as module
from inarch_benchmarks.published import hub
from inarch_benchmarks.published.gsm8k import GSM8K, final_number, is_right
from inarch_benchmarks.published.hub import Split

from hub_stand_ins import train


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VALIDATION", 6)
    monkeypatch.setattr(module, "NEW_TOKENS", 12)


def test_lessons_load_and_score(gsm8k: Path, bases: dict[str, Base]) -> None:
    task, base = GSM8K(), bases["llama"]
    lessons = task.lessons(base, seed=0)
    model = task.load(base, seed=0)
    losses = train(model, task, lessons, steps=100, method="full")
    assert losses[-1] < losses[0] / 4
    with torch.no_grad():
        score = task.score(model, lessons.validation)
        again = task.score(model, lessons.validation)
    assert score == again  # the checkpoint asks for sampling
    assert score.metrics["exact_match"] == sum(score.items) / len(score.items)
    assert len(score.items) == 6
    assert len(task.examination(base)) == 8


def test_a_right_answer_counts(gsm8k: Path, bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch) -> None:
    written = ["I think 0. The answer is: 0", "The answer is: 1", "3", *["#### 4"] * 5]
    asked = {}

    def generate(model: object, tokenizer: object, texts: list[str], *rest: object, **how: object) -> list[str]:
        asked["texts"] = texts
        return written

    monkeypatch.setattr(module, "generate", generate)
    task, base = GSM8K(), bases["llama"]
    score = task.score(task.load(base, 0), task.examination(base))
    assert score.items == [1, 1, 0, 0, 1, 0, 0, 0]
    assert score.metrics == {"exact_match": 3 / 8}
    assert asked["texts"][1] == "Question: not the book is 1 ? Think step by step.\nAnswer:"


def test_lessons_never_touch_the_test(gsm8k: Path, bases: dict[str, Base], monkeypatch: pytest.MonkeyPatch) -> None:
    read = hub.read

    def guarded(split: Split) -> Table:
        assert split.name == "train", f"the test split {split} was read"
        return read(split)

    monkeypatch.setattr(hub, "read", guarded)
    GSM8K().lessons(bases["llama"], seed=0)
    with pytest.raises(AssertionError, match="the test split"):
        GSM8K().examination(bases["llama"])


def test_nothing_made_from_a_question_of_validation_is_trained_on(gsm8k: Path, bases: dict[str, Base]) -> None:
    lessons = GSM8K().lessons(bases["llama"], seed=0)
    asked = {row["query"] for row in lessons.validation.rows}  # type: ignore[attr-defined]
    sources = [row["original_question"] for row in lessons.training.rows]  # type: ignore[attr-defined]
    assert len(asked) == 6
    assert len(sources) == 30 - 6
    assert asked.isdisjoint(sources)


def test_long_rows_are_left_out(gsm8k: Path, bases: dict[str, Base]) -> None:
    rows = GSM8K().lessons(bases["llama"], seed=0).training.rows  # type: ignore[attr-defined]
    assert max(len(f"{row['query']} {row['response']}") for row in rows) <= 1300


def test_labels_are_the_whole_text_and_its_end(gsm8k: Path, bases: dict[str, Base]) -> None:
    lessons = GSM8K().lessons(bases["llama"], seed=0)
    batch = lessons.training.batch([0, 20])
    for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
        length = int(mask.sum())
        assert torch.equal(labels[:length], ids[:length])
        assert (labels[length:] == -100).all()
        assert ids[0] == 2
        assert ids[length - 1] == 3


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so it is 4.\nThe answer is: 16", 16),
        ("The answer is: 1,250.", 1250),
        ("The answer is: $5.50", Fraction(11, 2)),
        ("The answer is: 20/14", Fraction(10, 7)),
        ("The answer is 50%", 50),
        ("9 + 9 = <<9+9=18>>18\n#### 18", 18),
        ("The answer is: 3\nQuestion: what now?", 3),
        ("The answer is: 3\nThe answer is: -4", -4),
        ("The answer is: 16 apples", None),
        ("The answer is: 1/0", None),
        ("16", None),
        ("", None),
    ],
)
def test_the_number_after_the_last_marker(text: str, number: Fraction | int | None) -> None:
    assert final_number(text) == number


def test_no_number_is_never_right() -> None:
    assert is_right("The answer is: 0.5", "#### 1/2")
    assert not is_right("many", "many")
