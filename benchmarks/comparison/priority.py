"""Which runs go first: one seed for every cell, then two, ...; where not all can be afforded, what is nearest settled.

A comparison is settled when zero lies outside the interval of its paired differences d_1 .. d_n, and is expected to be
after n' seeds if mean and spread stay as they are:

    |mean(d)| >= t(1 - a / 2, n' - 1) * sd(d) / sqrt(n'),    a = 5 % / number of comparisons (Bonferroni)

Every contender is compared with the baseline, and with its rival: the best of those that train no more parameters than
it does, which it must beat to stand on the Pareto front.

Choosing by what was seen is optional stopping. A suite that is run to its end is safe: order changes nothing in it. In
one that stops at its budget, a difference that looked large by chance was looked at with more seeds than others, and
some that look settled are not; so the report marks partial suites, and says how many seeds each cell has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

LEVEL = 0.05
FIRST = 3
"""Seeds of every cell before any is preferred: fewer say nothing of a spread."""

MOST = 1000
"""A comparison that needs more seeds than this counts as one that will not be settled."""


@dataclass(frozen=True)
class Standing:
    """A cell as it stands.

    Attributes:
        contender: Its label.
        place: The task and the model.
        parameters: Trained ones.
        scores: On test data by seed, of the runs that have one.
        pending: Seeds that are still to be run, in their order.
    """

    contender: str
    place: str
    parameters: int
    scores: Mapping[int, float]
    pending: tuple[int, ...]


@dataclass(frozen=True)
class Pending:
    """A run that is still to be made."""

    contender: str
    place: str
    seed: int


def in_order(standings: Sequence[Standing], baseline: str, affordable: int | None = None) -> list[Pending]:
    """All pending runs, those that go first in front. To be asked again when results have come.

    Args:
        standings: The cells.
        baseline: Label of the contender that the others are compared with.
        affordable: How many more runs the budget allows; None for all.
    """
    wanted = sum(len(standing.pending) for standing in standings)
    scarce = affordable is not None and affordable < wanted
    missing = _missing(standings, baseline) if scarce else {}

    def rank(standing: Standing, place: int) -> tuple[float, ...]:
        seeds = len(standing.scores) + place
        if seeds < FIRST or not scarce:
            return 0, seeds
        return (
            1,
            min((more for more in missing[standing.contender, standing.place] if place < more), default=inf),
            seeds,
        )

    ranked = [
        (rank(standing, place), Pending(standing.contender, standing.place, seed))
        for standing in standings
        for place, seed in enumerate(standing.pending)
    ]
    return [pending for _, pending in sorted(ranked, key=lambda each: each[0])]  # stable: ties as the suite has them


def seeds_to_settle(differences: Sequence[float], level: float = LEVEL) -> int | None:
    """How many seeds in all settle a comparison, if mean and spread stay as they are; None where ``MOST`` do not.

    Args:
        differences: Paired, at least two.
        level: Two-sided.
    """
    seeds = np.arange(len(differences), MOST + 1)
    half = _quantiles(level)[len(differences) - 2 :] * np.std(differences, ddof=1) / np.sqrt(seeds)
    settled = seeds[(np.abs(np.mean(differences)) >= half) & (np.mean(differences) != 0)]
    return int(settled[0]) if len(settled) else None


@cache
def _quantiles(level: float) -> NDArray[np.float64]:
    """Student's for 2 to ``MOST`` seeds."""
    return np.asarray(stdtrit(np.arange(1, MOST), 1 - level / 2))


def _missing(standings: Sequence[Standing], baseline: str) -> dict[tuple[str, str], list[int]]:
    """How many more seeds would settle what each cell is compared in, without what is settled or never will be."""
    missing: dict[tuple[str, str], list[int]] = {(each.contender, each.place): [] for each in standings}
    comparisons = _comparisons(standings, baseline)
    for one, other in comparisons:
        common = sorted(one.scores.keys() & other.scores.keys())
        if len(common) < 2:
            continue
        differences = [one.scores[seed] - other.scores[seed] for seed in common]
        needed = seeds_to_settle(differences, LEVEL / len(comparisons))
        if needed is not None:
            for each in (one, other):
                missing[each.contender, each.place].append(needed - len(common))
    return missing


def _comparisons(standings: Sequence[Standing], baseline: str) -> list[tuple[Standing, Standing]]:
    """Each cell with the baseline and with its rival, no pair twice."""
    places: dict[str, list[Standing]] = {}
    for standing in standings:
        if standing.scores:
            places.setdefault(standing.place, []).append(standing)
    pairs: dict[tuple[str, frozenset[str]], tuple[Standing, Standing]] = {}
    for place, here in places.items():
        for one in here:
            others = [each for each in here if each is not one]
            with_baseline = [each for each in others if each.contender == baseline]
            cheaper = [each for each in others if each.parameters <= one.parameters]
            for other in with_baseline + sorted(cheaper, key=_mean)[-1:]:
                pairs.setdefault((place, frozenset({one.contender, other.contender})), (one, other))
    return list(pairs.values())


def _mean(standing: Standing) -> float:
    return fmean(standing.scores.values())
