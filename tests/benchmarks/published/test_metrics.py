import math

import pytest
import torch
from scipy import stats

from inarch_benchmarks.published.metrics import METRICS


def measured(name: str, guesses: list[float], labels: list[float]) -> float:
    return METRICS[name](torch.tensor(guesses, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64))


GUESSES, LABELS = [1, 1, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 1, 0, 1]
# of the eight: 3 true positives, 1 false positive, 1 false negative, 3 true negatives


def test_accuracy_counts_the_right_ones() -> None:
    assert measured("accuracy", GUESSES, LABELS) == 6 / 8


def test_f1_is_of_class_one() -> None:
    assert measured("f1", GUESSES, LABELS) == 2 * 3 / (2 * 3 + 1 + 1)
    assert measured("f1", [0, 0], [0, 0]) == 0


def test_matthews_by_its_definition() -> None:
    assert measured("matthews", GUESSES, LABELS) == pytest.approx((3 * 3 - 1 * 1) / math.sqrt(4 * 4 * 4 * 4))
    assert measured("matthews", [1, 1, 1], [0, 1, 1]) == 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlations_are_those_of_scipy(name: str) -> None:
    guesses, labels = [0.1, 2.5, 2.5, 4.0, 1.0], [0.0, 1.5, 3.0, 5.0, 5.0]
    wanted = getattr(stats, f"{name}r")(guesses, labels).statistic
    assert measured(name, guesses, labels) == pytest.approx(wanted, abs=1e-12)
    assert measured(name, [2.0, 2.0, 2.0], [0.0, 1.0, 2.0]) == 0  # scipy has none, with a warning
