"""Intervals around means over seeds.

Below ``ENOUGH`` seeds they are Student's (``student.py``); from there on the part of the seeds is a bootstrap (BCa, by
scipy), which asks for no normal distribution but covers too little for few: the percentile bootstrap covers 75 % of a
nominal 95 % over three seeds, 84 % over five and 90 % over ten. The part of the items is joined in quadrature.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from inarch_benchmarks.analysis.estimates import Estimates
from inarch_benchmarks.analysis.findings import Interval
from inarch_benchmarks.analysis.panel import Panel, estimates
from inarch_benchmarks.analysis.scores import Scores
from inarch_benchmarks.analysis.student import ALPHA, Array, half_width, quantile

ENOUGH = 20
"""From so many seeds on a bootstrap is used."""

RESAMPLES = 1999
BATCH = 128
"""Means that are bootstrapped together, so that memory stays small."""


def intervals(samples: Sequence[Scores], panels: Sequence[Panel] | None = None) -> list[Interval]:
    """One for each sample of at least one seed: a mean score and what is known of it.

    Args:
        samples: The scores.
        panels: What each of them is in, where that is there already.
    """
    panels = [Panel([sample]) for sample in samples] if panels is None else panels
    found = estimates([(panel, sample, None) for panel, sample in zip(panels, samples, strict=True)])
    low, high = _ends(found)
    for seeds in np.unique(found.seeds[found.seeds >= ENOUGH]):
        which = np.flatnonzero(found.seeds == seeds)
        some = found[which]
        below, above = _resampled(np.stack([samples[index].means for index in which.tolist()]))
        items = quantile(np.maximum(some.items - 1, 1)) ** 2 * some.by_items
        low[which] = some.mean - np.sqrt((some.mean - below) ** 2 + items)
        high[which] = some.mean + np.sqrt((above - some.mean) ** 2 + items)
    return _intervals(found, low, high, bootstrapped=True)


def t_intervals(found: Estimates) -> list[Interval]:
    """Student's for any number of seeds: what agrees with a p by ``student.p_value``."""
    return _intervals(found, *_ends(found), bootstrapped=False)


def _ends(found: Estimates) -> tuple[Array, Array]:
    half = np.full(found.mean.shape, np.nan)
    several = found.seeds > 1
    some = found[several]
    half[several] = half_width(some.by_seeds, some.by_items, some.seeds, some.items)
    return found.mean - half, found.mean + half


def _intervals(found: Estimates, low: Array, high: Array, *, bootstrapped: bool) -> list[Interval]:
    return [
        Interval(mean, below, above, seeds, spread, error, _kind(seeds, bootstrapped))
        for mean, below, above, seeds, spread, error in zip(
            found.mean.tolist(),
            low.tolist(),
            high.tolist(),
            found.seeds.tolist(),
            found.spread.tolist(),
            np.sqrt(found.by_items).tolist(),
            strict=True,
        )
    ]


def _kind(seeds: int, bootstrapped: bool) -> Literal["t", "bootstrap", "none"]:
    if seeds < 2:
        return "none"
    return "bootstrap" if bootstrapped and seeds >= ENOUGH else "t"


def _resampled(means: Array) -> tuple[Array, Array]:
    """Ends of BCa bootstrap intervals of the means of rows, shape (k, m)."""
    from scipy.stats import bootstrap  # takes as long to import as a suite's statistics to compute

    low = means.mean(axis=1)
    high = low.copy()
    varied = np.flatnonzero(np.ptp(means, axis=1) > 0)  # where nothing varies there is nothing to draw
    for start in range(0, len(varied), BATCH):
        some = varied[start : start + BATCH]
        # The same draws for every batch: a mean's interval does not depend on what else is in the report.
        found = bootstrap(
            (means[some],),
            np.mean,
            axis=1,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=1 - ALPHA,
            method="BCa",
            rng=np.random.default_rng(0),
        )
        low[some], high[some] = found.confidence_interval
    return low, high
