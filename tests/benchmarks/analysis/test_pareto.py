"""Pareto fronts against their definition, and the probability of being on one."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from inarch_benchmarks.analysis.pareto import on_front, probabilities
from inarch_benchmarks.analysis.scores import Scores

Sample = Callable[..., Scores]


def test_the_front_is_who_nobody_dominates() -> None:
    rng = np.random.default_rng(0)
    scores, costs = rng.integers(0, 5, (200, 7)) / 5, rng.integers(0, 4, 7)

    def dominated(row: np.ndarray, one: int) -> bool:
        return any(
            row[other] >= row[one]
            and costs[other] <= costs[one]
            and (row[other] > row[one] or costs[other] < costs[one])
            for other in range(7)
        )

    expected = [[not dominated(row, one) for one in range(7)] for row in scores]
    assert (on_front(scores, costs) == expected).all()


def test_a_clear_front_is_certain(sample: Sample) -> None:
    rng = np.random.default_rng(0)
    field = [sample(None, mean + 0.001 * rng.standard_normal(5)) for mean in (0.5, 0.7, 0.6, 0.9)]
    assert probabilities(field, [0, 10, 20, 30]) == [1.0, 1.0, 0.0, 1.0]


def test_the_probability_is_that_of_a_paired_difference(sample: Sample) -> None:
    """The dearer of two is on the front where it is better: normal, by the standard error of the difference."""
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 0.05, 30)  # what a seed does to both must cancel
    one, other = 0.80 + shared, 0.802 + shared + rng.normal(0, 0.01, 30)
    difference = other - one
    expected = stats.norm.cdf(difference.mean() / stats.sem(difference))
    cheap, dear = probabilities([sample(None, one), sample(None, other)], [1, 2])
    assert cheap == 1.0
    assert 0.6 < expected < 0.95
    assert dear == pytest.approx(expected, abs=0.03)


def test_items_are_uncertain_too(sample: Sample) -> None:
    """Runs that are the same at every seed differ on a few items only: other items could turn that round."""
    rng = np.random.default_rng(0)
    one = rng.integers(0, 2, 200)
    other = one.copy()
    flipped = rng.permutation(200)[:20]
    other[flipped] = 1 - other[flipped]
    if other.mean() < one.mean():
        one, other = other, one
    field = [sample(np.tile(row, (5, 1))) for row in (one, other)]
    difference = other - one
    expected = stats.norm.cdf(difference.mean() / stats.sem(difference))
    assert 0.5 < expected < 0.999
    assert probabilities(field, [1, 2])[1] == pytest.approx(expected, abs=0.03)


def test_it_is_repeatable_and_bears_missing_seeds(sample: Sample) -> None:
    field = [sample(None, [0.5, 0.6, 0.7]), Scores((1, 7), np.array([0.62, 0.6]), None, 100), sample(None, [0.61])]
    assert probabilities(field, [1, 2, 3]) == probabilities(field, [1, 2, 3])
    assert probabilities([], []) == []
