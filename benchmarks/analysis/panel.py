"""A panel: the scores of all contenders on one task, with what they have in common computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inarch_benchmarks.analysis.components import Moments, moments
from inarch_benchmarks.analysis.estimates import Estimates
from inarch_benchmarks.analysis.scores import Scores
from inarch_benchmarks.analysis.student import Array

ROUNDING = 1e-12
"""A variance below this share of what it was computed from is rounding, not variance."""


@dataclass(frozen=True, eq=False)
class Joint:
    """Scores at the same seeds, and on the same items where those are known.

    Attributes:
        samples: At these seeds alone.
        place: Where in ``samples`` each of the panel's is, by identity.
        items: How many; 0 where they are not known for all.
    """

    samples: tuple[Scores, ...]
    place: dict[int, int]
    items: int

    @cached_property
    def means(self) -> Array:
        """At each seed, shape (k, m)."""
        return np.stack([sample.means for sample in self.samples])

    @cached_property
    def moments(self) -> Moments:
        """Of all of them."""
        items = [sample.items for sample in self.samples if sample.items is not None] if self.items else None
        return moments(self.means, items)

    def places(self, *samples: Scores) -> list[int]:
        """Where these are."""
        return [self.place[id(sample)] for sample in samples]


class Panel:
    """The scores of contenders that met on one task."""

    def __init__(self, samples: Sequence[Scores]) -> None:
        self._samples = samples
        self._joints: dict[tuple[tuple[int, ...], int, frozenset[str]], Joint] = {}

    def joint(self, *samples: Scores) -> Joint:
        """Everybody who has the seeds that these have in common, and the items if they all know the same ones."""
        first, *others = samples
        seeds = first.common(*others)
        known = bool(first.count) and all(each.count == first.count and each.data == first.data for each in others)
        key = (seeds, first.count if known else 0, first.data if known else frozenset())
        if key not in self._joints:
            wanted = set(seeds)
            having = [
                each
                for each in self._samples
                if wanted.issubset(each.seeds) and (not known or (each.count, each.data) == key[1:])
            ]
            place = {id(each): index for index, each in enumerate(having)}
            self._joints[key] = Joint(tuple(each.at(seeds) for each in having), place, key[1])
        return self._joints[key]


Question = tuple[Panel, Scores, Scores | None]
"""What is a mean score, or how much higher is it than another's? Both are of the panel."""


def estimates(asked: Sequence[Question]) -> Estimates:
    """The answers, one each; there must be a seed for every one of them."""
    grouped: dict[int, tuple[Joint, list[int]]] = {}
    for index, (panel, one, other) in enumerate(asked):
        joint = panel.joint(one) if other is None else panel.joint(one, other)
        grouped.setdefault(id(joint), (joint, []))[1].append(index)
    found = np.empty((len(asked), 6))
    for joint, indices in grouped.values():
        found[indices] = _answers(joint, [asked[index][1:] for index in indices])
    mean, spread, by_seeds, by_items, seeds, items = found.T
    return Estimates(mean, spread, by_seeds, by_items, seeds.astype(np.int64), items.astype(np.int64))


def _answers(joint: Joint, questions: Sequence[tuple[Scores, Scores | None]]) -> Array:
    """Shape (questions, 6), in the order of the attributes of ``Estimates``."""
    one = np.array([joint.place[id(one)] for one, _ in questions])
    other = np.array([-1 if other is None else joint.place[id(other)] for _, other in questions])
    paired = other >= 0
    means = joint.means[one] - np.where(paired[:, None], joint.means[other], 0.0)
    m = means.shape[1]
    parts = joint.moments

    def of(matrix: Array) -> Array:
        return np.asarray(matrix[one, one] + np.where(paired, matrix[other, other] - 2 * matrix[one, other], 0.0))

    def sum_of(matrix: Array) -> Array:
        return np.asarray(matrix[one, one] + np.where(paired, matrix[other, other], 0.0))

    # As Moments.components does for one quantity.
    rest = of(parts.rest)
    by_seeds, by_items = rest + np.maximum(of(parts.seeds) - rest, 0.0), np.maximum(of(parts.items) - rest, 0.0)
    # Nothing varied at all? That says only that the error is too small to be seen on so few items: one of them.
    still = by_seeds + by_items <= ROUNDING * (sum_of(parts.seeds) + sum_of(parts.items)) + ROUNDING**2
    rows = np.array([min(each.rows for each in question if each is not None) for question in questions])
    by_seeds = np.where(still, 1.0 / np.maximum(rows, 1) ** 2, by_seeds)
    by_items = np.where(still, 0.0, by_items)
    spread = means.std(axis=1, ddof=1) if m > 1 else np.full(len(means), np.nan)
    counts = np.full((len(means), 2), (m, joint.items))
    return np.column_stack([means.mean(axis=1), spread, by_seeds, by_items, counts])
