"""How much of a mean's error comes from the seeds, and how much from the choice of the test items.

Every seed is tested on the same items, so the two are crossed random effects. The score of seed s on item i is

    y_si = mu + S_s + I_i + E_si,    s = 1..m, i = 1..n

and the mean over all of them has the variance  var(S)/m + var(I)/n + var(E)/(mn).  The analysis of variance estimates
it without bias from the mean squares (Searle, Casella and McCulloch 1992, "Variance Components", chapter 4; Cornfield
and Tukey 1956, Annals of Mathematical Statistics 27, 907-949):

    MS_S = n sum_s (y_s. - y_..)^2 / (m - 1)                        expects  var(E) + n var(S)
    MS_I = m sum_i (y_.i - y_..)^2 / (n - 1)                        expects  var(E) + m var(I)
    MS_E = sum_si (y_si - y_s. - y_.i + y_..)^2 / ((m - 1)(n - 1))  expects  var(E)

    V_seeds = (MS_E + max(MS_S - MS_E, 0)) / (mn)      what seeds bring, with what is left
    V_items = max(MS_I - MS_E, 0) / (mn)               what items bring besides

A variance is never negative, hence the maxima. The first of them also keeps a few seeds that agree by chance from
looking certain: the error is never below what the items of the same runs show. V_seeds without its maximum is the
variance of a mean over seeds that everybody computes, and all that is left where the items are not known.

The same for several quantities at once, with covariances for variances and, for the maximum, the nearest matrix without
negative eigenvalues. Covariances of the scores of contenders give those of any difference between them, so they are
computed once for all contenders of a task (``panel.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inarch_benchmarks.analysis.student import Array

BLOCK = 4_000_000
"""Numbers that are held at once: items are gone through in blocks."""


@dataclass(frozen=True, eq=False)
class Components:
    """Covariances of the means of k quantities, shapes (..., k, k).

    Attributes:
        seeds: What comes from the seeds; NaN for one seed.
        items: What comes from the choice of items; 0 where they are not known.
    """

    seeds: Array
    items: Array


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean squares and products of k quantities, over mn, before anything is taken from anything; shapes (..., k, k).

    Attributes:
        seeds: MS_S / (mn); NaN for one seed.
        items: MS_I / (mn); 0 where items are not known.
        rest: MS_E / (mn); 0 for one seed, or where items are not known.
    """

    seeds: Array
    items: Array
    rest: Array

    def at(self, places: NDArray[np.int64]) -> "Moments":
        """Those of some of the quantities; of several choices where ``places`` has more than one axis."""
        chosen = places[..., :, None], places[..., None, :]
        return Moments(self.seeds[chosen], self.items[chosen], self.rest[chosen])

    def of(self, combinations: Array) -> "Moments":
        """Those of linear combinations of the quantities, shape (combinations, k)."""
        return Moments(*(combinations @ each @ combinations.T for each in (self.seeds, self.items, self.rest)))

    def components(self) -> Components:
        """The components of the variance, none of them negative."""
        return Components(self.rest + _positive(self.seeds - self.rest), _positive(self.items - self.rest))


def moments(means: Array, items: Sequence[NDArray[np.generic]] | None = None) -> Moments:
    """Of k quantities, all measured at the same seeds on the same items.

    Args:
        means: Shape (k, m): at each seed.
        items: For each quantity, shape (m, n): on each item at each seed; None where they are not known.
    """
    k, m = means.shape
    of_seeds = means - means.mean(axis=1, keepdims=True)
    by_seeds = of_seeds @ of_seeds.T / ((m - 1) * m) if m > 1 else np.full((k, k), np.nan)
    if items is None or items[0].shape[1] < 2:
        return Moments(by_seeds, np.zeros((k, k)), np.zeros((k, k)))
    n = items[0].shape[1]
    seen = np.stack([each.mean(axis=1) for each in items])
    overall = seen.mean(axis=1)
    of_all, of_items = _products(items, overall)
    by_items = of_items / ((n - 1) * n)
    if m == 1:
        return Moments(by_seeds, by_items, np.zeros((k, k)))
    seen -= overall[:, None]
    left = of_all - n * (seen @ seen.T) - m * of_items
    return Moments(by_seeds, by_items, left / ((m - 1) * (n - 1) * m * n))


def _products(items: Sequence[NDArray[np.generic]], overall: Array) -> tuple[Array, Array]:
    """Sums of products of deviations: of single scores, and of means over seeds; shapes (k, k)."""
    k, (m, n) = len(items), items[0].shape
    of_all, of_items = np.zeros((k, k)), np.zeros((k, k))
    step = max(1, BLOCK // (k * m))
    for start in range(0, n, step):
        block = np.empty((k, m, min(step, n - start)))
        for row, each in enumerate(items):
            np.subtract(each[:, start : start + step], overall[row], out=block[row])
        flat, means = block.reshape(k, -1), block.mean(axis=1)
        of_all += flat @ flat.T
        of_items += means @ means.T
    return of_all, of_items


def _positive(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0.0)[..., None, :]) @ vectors.mT)
