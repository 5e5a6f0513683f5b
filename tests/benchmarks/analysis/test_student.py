"""Student's t with two sources of error, against scipy and by simulation."""

import numpy as np
import pytest
from scipy import stats

from inarch_benchmarks.analysis.student import LEAST_P, half_width, p_value, quantile


def test_quantiles_are_scipys() -> None:
    degrees = np.array([1, 2, 4, 9, 999])
    assert quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-10)
    assert quantile(4, 1e-12) == pytest.approx(stats.t.isf(5e-13, 4), rel=1e-8)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 40])
def test_without_items_it_is_the_paired_t_test(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    one, other = rng.normal(0.5, 1, seeds), rng.normal(0, 1, seeds)
    difference = one - other
    oracle = stats.ttest_rel(one, other)
    variance = difference.var(ddof=1) / seeds
    assert p_value(difference.mean(), variance, 0.0, seeds, 0) == pytest.approx(oracle.pvalue, rel=1e-9)
    interval = oracle.confidence_interval(0.95)
    assert half_width(variance, 0.0, seeds, 0) == pytest.approx((interval.high - interval.low) / 2, rel=1e-9)


def test_without_seeds_it_is_the_t_test_over_items() -> None:
    items = np.random.default_rng(0).normal(0.2, 1, 50)
    oracle = stats.ttest_1samp(items, 0.0)
    assert p_value(items.mean(), 0.0, items.var(ddof=1) / 50, 5, 50) == pytest.approx(oracle.pvalue, rel=1e-9)


def test_interval_and_p_agree() -> None:
    rng = np.random.default_rng(0)
    by_seeds, by_items = rng.exponential(1, 400), rng.exponential(1, 400)
    seeds, items = rng.integers(2, 30, 400), rng.integers(5, 500, 400)
    mean = rng.normal(0, 5, 400)
    p = p_value(mean, by_seeds, by_items, seeds, items)
    assert ((p < 0.05) == (np.abs(mean) > half_width(by_seeds, by_items, seeds, items))).all()
    told = p > 1.01 * LEAST_P
    assert told.mean() > 0.9
    touching = half_width(by_seeds, by_items, seeds, items, p)
    assert touching[told] == pytest.approx(np.abs(mean[told]), rel=1e-6)


def test_p_lies_between_those_of_either_source_alone() -> None:
    t = 3.0
    p = float(p_value(t, 0.5, 0.5, 3, 200))
    assert 2 * stats.t.sf(t, 199) < p < 2 * stats.t.sf(t, 2)


def test_extremes() -> None:
    assert p_value(0.0, 1.0, 1.0, 3, 100) == pytest.approx(1.0)
    assert p_value(1e9, 1e-6, 1e-6, 20, 100) == pytest.approx(LEAST_P)
    with pytest.raises(ValueError, match="without variance"):
        p_value(1.0, 0.0, 0.0, 3, 100)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_it_covers_what_it_says(seeds: int, share: float) -> None:
    """``share`` of the variance comes from 300 items. At least nominal, and not much above."""
    rng, rounds = np.random.default_rng(7), 40_000
    by_seeds = (1 - share) * rng.chisquare(seeds - 1, rounds) / (seeds - 1)
    by_items = share * rng.chisquare(299, rounds) / 299
    covered = np.mean(np.abs(rng.standard_normal(rounds)) <= half_width(by_seeds, by_items, seeds, 300))
    assert covered > stats.binom.ppf(0.001, rounds, 0.95) / rounds
    assert covered < 0.98
