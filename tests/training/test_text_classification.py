from typing import Any

import numpy as np
import pytest

from inarch.errors import DataError
from inarch.training import DataConfig, Table
from inarch_plugins.tasks.text_classification import TextClassification

from runs import tokenizer

DATA = DataConfig(train="train.csv")


def table(*labels: Any) -> Table:
    return Table("train.csv", [{"text": "the film", "label": label} for label in labels])


def task(*labels: Any) -> TextClassification:
    return TextClassification(DATA, TextClassification.learn(DATA, table(*labels)))


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        ([2, 10, 1], ("1", "2", "10")),
        ([1.0, 0.0], ("0", "1")),
        (["b", "a", "10"], ("10", "a", "b")),
        ([True, False], ("False", "True")),
    ],
)
def test_labels_are_sorted(given: list[Any], labels: tuple[str, ...]) -> None:
    assert task(*given).labels == labels


def test_labels_are_the_same_whatever_type_a_file_gives_them() -> None:
    trained_on_text = task("0", "1")
    trained_on_text.check(table(0, 1))
    with pytest.raises(DataError, match="do not: 2"):
        trained_on_text.check(table(2))


def test_encodes_rows() -> None:
    first, second = task("bad", "good").encode(table("good", "bad"), tokenizer(), max_length=1)
    assert first["labels"] == 1
    assert second["labels"] == 0
    assert len(first["input_ids"]) == 1


def test_metrics_are_macro_averages() -> None:
    logits = np.eye(3)[[0, 0, 0, 1]]
    measured = task("a", "b", "c").metrics(logits, np.array([0, 0, 1, 1]))
    assert measured["accuracy"] == 0.75
    assert measured["precision"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert measured["recall"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert measured["f1"] == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)
    assert measured["confusion_matrix"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert measured["labels"] == ["a", "b", "c"]
