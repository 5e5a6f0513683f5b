"""Differences between contenders, paired by seed and by item."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from inarch_benchmarks.analysis.contenders import Contender
from inarch_benchmarks.analysis.estimates import Estimates
from inarch_benchmarks.analysis.findings import Difference, Verdict
from inarch_benchmarks.analysis.intervals import t_intervals
from inarch_benchmarks.analysis.panel import estimates
from inarch_benchmarks.analysis.power import FEWEST, detectable, seeds_needed
from inarch_benchmarks.analysis.stacks import mark
from inarch_benchmarks.analysis.student import ALPHA, Array, p_value


def family(pairs: Sequence[tuple[Contender, Contender]]) -> list[Difference]:
    """The differences of pairs, each of one panel, asked together: one family for Holm's correction.

    A p says how well a difference would hold at other seeds and on other items of the same kind: both are uncertain, as
    they are in the interval, which leaves zero out exactly where p is below 5 %. The correction is for p alone.
    Pairs without a common seed are left out.
    """
    compared = [(one, other) for one, other in pairs if one.scores.common(other.scores)]
    if not compared:
        return []
    found = estimates([(one.panel, one.scores, other.scores) for one, other in compared])
    p = _p_values(found)
    adjusted = holm(p)
    return [
        Difference(
            one=one.entry.contender,
            other=other.entry.contender,
            task=one.entry.task,
            model=one.entry.model,
            interval=interval,
            p=float(p[index]),
            adjusted=float(adjusted[index]),
            improvement=improvement(one.scores.means, other.scores.means),
            detectable=float(smallest),
            seeds_needed=needed,
            verdict=verdict(interval.mean, float(adjusted[index]), interval.seeds),
            stack=mark(one.stacks | other.stacks),
        )
        for index, ((one, other), interval, smallest, needed) in enumerate(
            zip(compared, t_intervals(found), detectable(found), seeds_needed(found), strict=True)
        )
    ]


def holm(p: ArrayLike) -> Array:
    """Adjusted p values by Holm's step-down procedure (S. Holm 1979, Scandinavian Journal of Statistics 6, 65-70).

    The k-th smallest of m is multiplied by m - k + 1, and none is smaller than one before it. The probability of any
    false claim in the family is then at most the level, whatever ties the tests together. NaN stays NaN and counts not.
    """
    raw = np.asarray(p, dtype=float)
    adjusted = np.full(raw.shape, np.nan)
    asked = np.flatnonzero(~np.isnan(raw))
    order = asked[np.argsort(raw[asked], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return adjusted


def improvement(one: ArrayLike, other: ArrayLike) -> float:
    """Probability that a run of ``one`` scores above a run of ``other``, over all pairs of runs; a tie counts half.

    P(X > Y) + P(X = Y) / 2, the Mann-Whitney U statistic over the number of pairs (Agarwal et al. 2021,
    arXiv:2108.13264, section 4.3). It says nothing of by how much.
    """
    x, y = np.asarray(one, float)[:, None], np.asarray(other, float)[None, :]
    return 0.5 + 0.5 * float(np.sign(x - y).sum()) / (x.size * y.size)


def verdict(mean: float, adjusted: float, seeds: int) -> Verdict:
    """What may be said of a difference."""
    if seeds < FEWEST or np.isnan(adjusted):
        return "too few seeds"
    if adjusted >= ALPHA:
        return "indistinguishable"
    return "better" if mean > 0 else "worse"


def _p_values(found: Estimates) -> Array:
    p = np.full(found.mean.shape, np.nan)
    several = found.seeds > 1
    some = found[several]
    p[several] = p_value(some.mean, some.by_seeds, some.by_items, some.seeds, some.items)
    return p
