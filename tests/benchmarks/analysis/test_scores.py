from collections.abc import Callable

import pytest

from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.scores import Scores
from inarch_benchmarks.analysis.scores import scores as scores_of
from inarch_benchmarks.comparison.record import RunRecord, Scored

Make = Callable[..., Entry]


def scores(entry: Entry) -> Scores:
    return scores_of(entry.finished, entry.metric)


def test_items_and_means_by_seed(entry: Make) -> None:
    found = scores(entry("lora", [[1, 0, 1, 1], [0, 0, 1, 1]]))
    assert found.seeds == (0, 1)
    assert found.means.tolist() == [0.75, 0.5]
    assert found.items is not None
    assert found.items.tolist() == [[1, 0, 1, 1], [0, 0, 1, 1]]
    assert (found.count, found.rows) == (4, 4)


def test_runs_without_a_score_are_left_out(entry: Make, record: Callable[..., RunRecord]) -> None:
    nan = record("lora", 3, 0.5, test=Scored(metrics={"accuracy": float("nan")}, rows=4))
    other = record("lora", 4, 0.5, test=Scored(metrics={"f1": 0.5}, rows=4))
    found = scores(
        entry("lora", [], records=[record("lora", 2, 0.7), record("lora", 1, None), nan, other, record("lora", 0, 0.6)])
    )
    assert found.seeds == (0, 2)
    assert found.means.tolist() == [0.6, 0.7]
    assert scores(entry("lora", [None])).seeds == ()


def test_numbers_may_be_items(entry: Make, record: Callable[..., RunRecord]) -> None:
    test = Scored(metrics={"accuracy": 0.5}, rows=2, items=[0.25, 0.75])
    found = scores(entry("lora", [], records=[record("lora", 0, 0.5, test=test)]))
    assert found.items is not None
    assert found.items.tolist() == [[0.25, 0.75]]


@pytest.mark.parametrize("items", ["0111", "011"])
def test_items_that_are_not_the_metrics_are_left_out(entry: Make, record: Callable[..., RunRecord], items: str) -> None:
    test = Scored(metrics={"accuracy": 0.25}, rows=4, items=items)
    found = scores(entry("lora", [], records=[record("lora", 0, [0, 0, 0, 1]), record("lora", 1, 0.5, test=test)]))
    assert found.items is None
    assert found.disputed is (len(items) == 4)


def test_seeds_in_common(entry: Make) -> None:
    one, other = scores(entry("a", [[1, 0], None, [1, 1], [0, 0]])), scores(entry("b", [None, [1, 0], [1, 1], [0, 1]]))
    assert one.common(other) == (2, 3)
    assert one.common() == one.seeds == (0, 2, 3)
    some = one.at([2, 3])
    assert (some.seeds, some.means.tolist()) == ((2, 3), [1.0, 0.0])
    assert some.items is not None
    assert some.items.tolist() == [[1, 1], [0, 0]]
    assert one.at(one.seeds) is one
