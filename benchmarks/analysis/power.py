"""What runs can find out: the smallest difference that they would have seen, and how many seeds would settle one.

The test of ``student.py`` finds a true difference d with a probability that follows the noncentral t distribution,

    power = P(T > t),   T ~ noncentral t(nu, d / se),   t = h / se

where h is the half width of the interval, se the standard error with seeds and items together, and nu the degrees of
freedom for which t is Student's quantile: m - 1 where all of the error comes from m seeds (then this is exact), and
more where some comes from items. (The other tail is left out: at this power it is below 10^-6.) Another seed makes
the part of the seeds smaller, never that of the items, so a difference may be beyond any number of seeds.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import nctdtrinc, stdtridf

from inarch_benchmarks.analysis.estimates import Estimates
from inarch_benchmarks.analysis.student import ALPHA, Array, half_width, quantile

POWER = 0.8
"""With what probability a difference is to be found."""

FEWEST = 3
"""Seeds below which nothing is said to differ: two runs on few items agree by chance too easily."""

MOST = 1000
"""Numbers of seeds above this are not told."""

NORMAL = 1e6
"""Degrees of freedom that are as good as a normal distribution."""


def noncentrality(t: ArrayLike) -> Array:
    """How many standard errors a true difference must have to exceed ``t`` of them with a probability of ``POWER``."""
    return np.asarray(np.interp(np.asarray(t, float), *_table()))


@cache
def _table() -> tuple[Array, Array]:
    """Critical values and what they ask for. Between its 20,000 points it is straight to six digits."""
    t = np.linspace(quantile(NORMAL), quantile(1), 20_000)
    return t, np.asarray(nctdtrinc(stdtridf(1 - ALPHA / 2, t), 1 - POWER, t))


def detectable(found: Estimates) -> Array:
    """The smallest true difference that each would have found with ``POWER``, at a level of 5 %; NaN for one seed."""
    least = np.full(found.mean.shape, np.nan)
    several = found.seeds > 1
    some = found[several]
    least[several] = _least(some.by_seeds, some.by_items, some.seeds, some.items)
    return least


def seeds_needed(found: Estimates) -> list[int | None]:
    """How many seeds would find a difference as large as the one seen with ``POWER``, at a level of 5 %.

    Returns:
        For each, at least ``FEWEST``; None where ``MOST`` do not suffice, or where one seed says nothing of the spread.
    """
    needed: list[int | None] = [None] * len(found.mean)
    which = np.flatnonzero((found.seeds > 1) & (found.mean != 0))
    some = found[which]
    low, high = np.full(which.shape, FEWEST), np.full(which.shape, MOST)
    possible = _suffices(some, high)
    while (low < high).any():
        middle = (low + high) // 2
        enough = _suffices(some, middle)
        low, high = np.where(enough, low, np.minimum(middle + 1, high)), np.where(enough, middle, high)
    for place, seeds, can in zip(which.tolist(), low.tolist(), possible.tolist(), strict=True):
        needed[place] = seeds if can else None
    return needed


def _suffices(found: Estimates, seeds: NDArray[np.int64]) -> NDArray[np.bool_]:
    least = _least(found.by_seeds * found.seeds / seeds, found.by_items, seeds, found.items)
    return np.asarray(np.abs(found.mean) >= least)


def _least(by_seeds: Array, by_items: Array, seeds: NDArray[np.int64], items: NDArray[np.int64]) -> Array:
    error = np.sqrt(by_seeds + by_items)
    return np.asarray(noncentrality(half_width(by_seeds, by_items, seeds, items) / error) * error)
