"""The scores of one entry as arrays, by seed and by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from inarch_benchmarks.analysis.student import Array
from inarch_benchmarks.comparison.record import RunRecord, Scored

AGREEMENT = 1e-4
"""How near the mean of the items must come to the metric that they are said to make up."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The main metric of some runs on the same test data.

    Attributes:
        seeds: In ascending order.
        means: The metric at each seed, shape (m,).
        items: What each item added to it, shape (m, n); None where that is not known.
        rows: How many examples the test has.
        data: Fingerprints of the task's data; more than one where runs of different data are among them.
        disputed: Whether items were there but had a mean other than the metric, and so were left out.
    """

    seeds: tuple[int, ...]
    means: Array
    items: NDArray[np.generic] | None
    rows: int
    data: frozenset[str] = frozenset()
    disputed: bool = False

    @property
    def count(self) -> int:
        """Number of items, 0 where they are not known."""
        return 0 if self.items is None else int(self.items.shape[1])

    def at(self, seeds: Sequence[int]) -> "Scores":
        """The same at some of its seeds."""
        if tuple(seeds) == self.seeds:
            return self
        place = {seed: index for index, seed in enumerate(self.seeds)}
        chosen = [place[seed] for seed in seeds]
        items = None if self.items is None else self.items[chosen]
        return Scores(tuple(seeds), self.means[chosen], items, self.rows, self.data, self.disputed)

    def common(self, *others: "Scores") -> tuple[int, ...]:
        """Seeds that all of them have."""
        if all(other.seeds == self.seeds for other in others):
            return self.seeds
        return tuple(seed for seed in self.seeds if all(seed in other.seeds for other in others))


def scores(runs: Sequence[RunRecord], metric: str) -> Scores:
    """The scores of an entry's runs, those without a number for the metric left out."""
    found: dict[int, tuple[float, Scored, str]] = {}
    for run in runs:
        value = float("nan") if run.test is None else run.test.metrics.get(metric, float("nan"))
        if run.test is not None and isfinite(value):
            found[run.specification.seed] = (value, run.test, run.specification.data)
    seeds = tuple(sorted(found))
    means = np.array([found[seed][0] for seed in seeds], dtype=float)
    tests = [found[seed][1] for seed in seeds]
    data = frozenset(found[seed][2] for seed in seeds)
    items = _items(tests) if len(data) == 1 else None
    disputed = items is not None and bool(np.abs(items.mean(axis=1) - means).max() > AGREEMENT)
    rows = min((test.rows for test in tests), default=0)
    return Scores(seeds, means, None if disputed else items, rows, data, disputed)


def _items(tests: Sequence[Scored]) -> NDArray[np.generic] | None:
    if not tests or not tests[0].items or any(len(test.items) != len(tests[0].items) for test in tests):
        return None
    if all(isinstance(test.items, str) for test in tests):
        # As bytes from end to end: a store of many runs has millions of items.
        joined = "".join(str(test.items) for test in tests)
        return np.frombuffer(joined.encode("ascii"), dtype=np.uint8).reshape(len(tests), -1) - np.uint8(ord("0"))
    return np.array([test.values for test in tests])
