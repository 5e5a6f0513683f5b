"""Estimates: means with the variance that seeds bring and the variance that items bring, many at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inarch_benchmarks.analysis.student import Array


@dataclass(frozen=True, eq=False)
class Estimates:
    """Some means, one an element of each array.

    Attributes:
        mean: Over seeds.
        spread: Standard deviation over seeds; NaN for one.
        by_seeds: Variance of the mean that comes from the seeds; NaN for one.
        by_items: Variance of the mean that comes from the choice of items.
        seeds: How many.
        items: How many; 0 where they are not known.
    """

    mean: Array
    spread: Array
    by_seeds: Array
    by_items: Array
    seeds: NDArray[np.int64]
    items: NDArray[np.int64]

    def __getitem__(self, chosen: NDArray[np.generic]) -> "Estimates":
        return Estimates(
            self.mean[chosen],
            self.spread[chosen],
            self.by_seeds[chosen],
            self.by_items[chosen],
            self.seeds[chosen],
            self.items[chosen],
        )

    @property
    def error(self) -> Array:
        """Standard errors, seeds and items together."""
        return np.sqrt(self.by_seeds + self.by_items)
