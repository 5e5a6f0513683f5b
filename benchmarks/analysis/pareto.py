"""Pareto fronts: which contenders no other beats at the same cost or less, and how sure that is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inarch_benchmarks.analysis.panel import Panel
from inarch_benchmarks.analysis.scores import Scores
from inarch_benchmarks.analysis.student import Array

DRAWS = 1000
"""Of seeds and items, for probabilities: their standard error is at most 0.016."""


def on_front(scores: ArrayLike, costs: ArrayLike) -> NDArray[np.bool_]:
    """Who is on the front: nobody else has a higher score at most at its cost, or as high a score at a lower cost.

    Args:
        scores: Shape (..., k), more is better.
        costs: Shape (k,), less is better.
    """
    score, cost = np.asarray(scores, float), np.asarray(costs, float)
    order = np.argsort(cost, kind="stable")
    cost, sorted_scores = cost[order], score[..., order]
    best = np.maximum.accumulate(sorted_scores, axis=-1)
    best = np.concatenate([np.full((*best.shape[:-1], 1), -np.inf), best], axis=-1)
    cheaper = best[..., np.searchsorted(cost, cost, side="left")]
    no_dearer = best[..., np.searchsorted(cost, cost, side="right")]
    front = np.empty(score.shape, dtype=bool)
    front[..., order] = (sorted_scores > cheaper) & (sorted_scores >= no_dearer)
    return front


def probabilities(
    samples: Sequence[Scores], costs: ArrayLike, panel: Panel | None = None, *, seed: int = 0
) -> list[float]:
    """How likely each is on the front, were the runs made again at other seeds and tested on other items.

    Seeds are drawn with replacement, the same for all, so what a seed does to everybody cancels as it does in paired
    differences; deviations are widened by sqrt(m / (m - 1)), without which few seeds would look too certain (B. Efron
    1982, "The Jackknife, the Bootstrap and Other Resampling Plans", section 5.3). What items bring is drawn from the
    normal distribution with the covariance of the mean scores over items; it is left out where some have no items.

    Args:
        samples: The scores of each contender on one task, at least one seed each.
        costs: Of each: trained parameters, bytes or seconds.
        panel: What they are all in, where that is there already.
        seed: Of the draws; the same seed gives the same probabilities.
    """
    if not samples:
        return []
    rng = np.random.default_rng(seed)
    drawn = _seed_means(samples, rng) + _item_noise(samples, panel or Panel(samples), rng)
    return [float(share) for share in on_front(drawn, costs).mean(axis=0)]


def _seed_means(samples: Sequence[Scores], rng: np.random.Generator) -> Array:
    """Mean scores at drawn seeds, shape (draws, k)."""
    seeds = sorted({seed for sample in samples for seed in sample.seeds})
    column = {seed: index for index, seed in enumerate(seeds)}
    there = np.zeros((len(samples), len(seeds)))
    deviations = np.zeros_like(there)
    for row, sample in enumerate(samples):
        places = [column[seed] for seed in sample.seeds]
        m = len(places)
        there[row, places] = 1.0
        if m > 1:
            deviations[row, places] = (sample.means - sample.means.mean()) * np.sqrt(m / (m - 1))
    counts = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=DRAWS)
    present = counts @ there.T  # 0 where none of a contender's seeds was drawn: it keeps its mean
    return _means(samples) + counts @ deviations.T / np.maximum(present, 1)


def _item_noise(samples: Sequence[Scores], panel: Panel, rng: np.random.Generator) -> Array:
    """What other items would change, shape (draws, k)."""
    k = len(samples)
    joint = panel.joint(*samples) if samples[0].common(*samples) else None
    if joint is None or not joint.items:
        return np.zeros((DRAWS, k))
    values, vectors = np.linalg.eigh(joint.moments.at(np.array(joint.places(*samples))).items)
    normal = rng.standard_normal((DRAWS, k))
    return np.asarray((normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


def _means(samples: Sequence[Scores]) -> Array:
    return np.array([sample.means.mean() for sample in samples])
