"""What could have been found: the formulas against scipy and against simulated tests."""

import numpy as np
import pytest
from scipy import stats

from inarch_benchmarks.analysis.estimates import Estimates
from inarch_benchmarks.analysis.power import FEWEST, MOST, detectable, noncentrality, seeds_needed
from inarch_benchmarks.analysis.student import half_width

ROUNDS = 40_000


def estimate(mean: float, by_seeds: float, by_items: float, seeds: int, items: int = 500) -> Estimates:
    arrays = (np.array([value]) for value in (mean, (by_seeds * seeds) ** 0.5, by_seeds, by_items))
    return Estimates(*arrays, np.array([seeds]), np.array([items]))


def power(difference: float, by_seeds: float, by_items: float, seeds: int, items: int = 500) -> float:
    """How often tests find a planted difference."""
    rng = np.random.default_rng(0)
    mean = difference + np.sqrt(by_seeds + by_items) * rng.standard_normal(ROUNDS)
    seen_seeds = by_seeds * rng.chisquare(seeds - 1, ROUNDS) / (seeds - 1)
    seen_items = by_items * rng.chisquare(items - 1, ROUNDS) / (items - 1)
    return float(np.mean(np.abs(mean) > half_width(seen_seeds, seen_items, seeds, items)))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10, 30])
def test_noncentrality_is_that_of_the_noncentral_t(seeds: int) -> None:
    t = stats.t.ppf(0.975, seeds - 1)
    found = float(noncentrality(t))
    assert stats.nct.sf(t, seeds - 1, found) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.95])
def test_a_detectable_difference_is_found_four_times_in_five(seeds: int, share: float) -> None:
    by_seeds, by_items = 1 - share, share
    least = float(detectable(estimate(0.0, by_seeds, by_items, seeds))[0])
    assert power(least, by_seeds, by_items, seeds) == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize(("difference", "share"), [(2.0, 0.0), (1.0, 0.0), (2.0, 0.1), (2.5, 0.4)])
def test_the_seeds_needed_suffice_and_fewer_do_not(difference: float, share: float) -> None:
    """The five runs seen say how much a run varies; more of them are simulated."""
    by_seeds, by_items = 1 - share, share
    (needed,) = seeds_needed(estimate(difference, by_seeds, by_items, 5))
    assert needed is not None
    assert needed > FEWEST
    assert power(difference, by_seeds * 5 / needed, by_items, needed) > 0.79
    assert power(difference, by_seeds * 5 / (needed - 1), by_items, needed - 1) < 0.815


def test_a_large_difference_needs_the_fewest() -> None:
    assert seeds_needed(estimate(100.0, 1.0, 0.1, 5)) == [FEWEST]


def test_more_seeds_do_not_make_the_test_longer() -> None:
    assert seeds_needed(estimate(1.0, 0.1, 1.0, 5)) == [None]


def test_what_cannot_be_known_is_not_told() -> None:
    assert seeds_needed(estimate(0.0, 1.0, 0.0, 5)) == [None]
    assert seeds_needed(estimate(1.0, float("nan"), 0.1, 1)) == [None]
    assert np.isnan(detectable(estimate(1.0, float("nan"), 0.1, 1))).all()
    assert seeds_needed(estimate(1e-3, 1.0, 0.0, 5)) == [None]
    assert MOST == 1000
