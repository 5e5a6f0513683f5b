"""Intervals against scipy, and their coverage of planted truths."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from inarch_benchmarks.analysis.intervals import ENOUGH, RESAMPLES, intervals
from inarch_benchmarks.analysis.scores import Scores

Sample = Callable[..., Scores]


def coverage(samples: list[Scores], truth: float) -> float:
    return float(np.mean([found.low <= truth <= found.high for found in intervals(samples)]))


def test_few_seeds_are_students(sample: Sample) -> None:
    means = [0.80, 0.84, 0.79, 0.83]
    (found,) = intervals([sample(None, means)])
    oracle = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert (found.mean, found.seeds, found.kind, found.item_error) == (pytest.approx(np.mean(means)), 4, "t", 0.0)
    assert found.spread == pytest.approx(np.std(means, ddof=1))


def test_many_seeds_are_bootstrapped(sample: Sample) -> None:
    means = np.random.default_rng(0).exponential(1, (2, ENOUGH))
    found = intervals([sample(None, row) for row in means])
    for row, interval in zip(means, found, strict=True):
        oracle = stats.bootstrap(
            (row,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0)
        ).confidence_interval
        assert (interval.low, interval.high) == pytest.approx((oracle.low, oracle.high))
        assert interval.kind == "bootstrap"


def test_many_seeds_that_agree_keep_the_error_of_items(sample: Sample) -> None:
    row = np.random.default_rng(0).integers(0, 2, 100)
    (found,) = intervals([sample(np.tile(row, (ENOUGH, 1)))])
    error = row.std(ddof=1) / 10
    assert found.item_error == pytest.approx(error)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 99) * error)


def test_one_seed_has_no_interval_but_an_item_error(sample: Sample) -> None:
    row = np.array([[1, 1, 0, 1, 0, 0, 1, 1]])
    (found,) = intervals([sample(row)])
    assert found.kind == "none"
    assert np.isnan([found.low, found.high, found.spread]).all()
    assert found.item_error == pytest.approx(stats.sem(row[0]))


def test_what_never_varies_is_known_to_one_item(sample: Sample) -> None:
    (found,) = intervals([sample(np.ones((3, 50), dtype=int))])
    assert found.mean == 1.0
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) / 50)


@pytest.mark.parametrize(("seeds", "published"), [(3, 0.75), (5, 0.84), (10, 0.90)])
def test_coverage_is_nominal_where_the_percentile_bootstrap_is_not(
    sample: Sample, seeds: int, published: float
) -> None:
    rounds = 2500
    means = np.random.default_rng(seeds).normal(0.8, 0.02, (rounds, seeds))
    ours = coverage([sample(None, row) for row in means], 0.8)
    low, high = stats.bootstrap(
        (means[:1000],), np.mean, axis=1, n_resamples=999, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    percentile = float(np.mean((low <= 0.8) & (high >= 0.8)))
    assert stats.binom.ppf(0.001, rounds, 0.95) <= rounds * ours <= stats.binom.ppf(0.999, rounds, 0.95)
    assert percentile == pytest.approx(published, abs=0.03)


def test_the_bootstrap_covers_from_twenty_seeds_on(sample: Sample) -> None:
    means = np.random.default_rng(0).normal(0.8, 0.02, (1500, ENOUGH))
    assert coverage([sample(None, row) for row in means], 0.8) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("by_seed", [0.02, 0.1])
def test_other_items_are_covered_too(sample: Sample, seeds: int, by_seed: float) -> None:
    """The truth is the mean over all seeds and all items; an interval over seeds alone misses it often."""
    rng, rounds, n = np.random.default_rng(seeds), 800, 60
    y = (
        0.8
        + by_seed * rng.standard_normal((rounds, seeds, 1))
        + 0.5 * rng.standard_normal((rounds, 1, n))
        + 0.2 * rng.standard_normal((rounds, seeds, n))
    )
    covered = coverage([sample(each) for each in y], 0.8)
    assert covered >= stats.binom.ppf(0.001, rounds, 0.95) / rounds
    assert covered < 0.99
    assert coverage([sample(None, each.mean(axis=1)) for each in y], 0.8) < 0.9
