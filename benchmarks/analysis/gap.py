"""The share of the gap between the head alone and full fine-tuning that a method recovers.

With a = method - head and b = full - head, both paired by seed and by item, the share is mean(a) / mean(b). Its
interval is Fieller's (E. C. Fieller 1954, Journal of the Royal Statistical Society B 16, 175-185): all r for which
a - r b cannot be told from zero,

    (mean(a) - r mean(b))^2  <=  h(a - r b)^2 = H_aa - 2 r H_ab + r^2 H_bb,
    H = t(m - 1)^2 V_seeds + t(n - 1)^2 V_items    (student.py, components.py; matrices over a and b)

an interval between the roots of a quadratic where mean(b)^2 > H_bb, which is where full and head can be told apart.
Where they cannot, any share would do, and none is told. Full fine-tuning has share 1, the head share 0 by definition.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inarch_benchmarks.analysis.findings import Interval
from inarch_benchmarks.analysis.panel import Joint, Panel
from inarch_benchmarks.analysis.power import FEWEST
from inarch_benchmarks.analysis.scores import Scores
from inarch_benchmarks.analysis.student import quantile

GAINED_AND_POSSIBLE = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
"""Method less head and full less head, of method, head and full."""


def shares(panel: Panel, methods: Sequence[Scores], head: Scores, full: Scores) -> list[Interval | None]:
    """The share that each method recovers, over the seeds that it has in common with both references.

    Args:
        panel: All of them are in it.
        methods: Of the methods.
        head: Of the head alone.
        full: Of full fine-tuning.

    Returns:
        None for a method with fewer than three such seeds, or where full fine-tuning is not clearly better.
    """
    found: list[Interval | None] = [None] * len(methods)
    grouped: dict[int, tuple[Joint, list[int]]] = {}
    for index, method in enumerate(methods):
        if len(method.common(head, full)) >= FEWEST:
            joint = panel.joint(method, head, full)
            grouped.setdefault(id(joint), (joint, []))[1].append(index)
    for joint, indices in grouped.values():
        places = np.array([joint.places(methods[index], head, full) for index in indices])
        for index, share in zip(indices, _shares(joint, places), strict=True):
            found[index] = share
    return found


def _shares(joint: Joint, places: NDArray[np.int64]) -> list[Interval | None]:
    """Of methods, with the two references beside them; shape (k, 3)."""
    means = GAINED_AND_POSSIBLE @ joint.means[places]
    parts = joint.moments.at(places).of(GAINED_AND_POSSIBLE).components()
    a, b = means.mean(axis=2).T
    seeds = means.shape[2]
    squares = quantile(seeds - 1) ** 2 * parts.seeds + quantile(max(joint.items - 1, 1)) ** 2 * parts.items
    quadratic = b * b - squares[:, 1, 1]
    clear = (b > 0) & (quadratic > 0)
    b, quadratic = np.where(clear, b, 1.0), np.where(clear, quadratic, 1.0)
    ratio, middle = a / b, (a * b - squares[:, 0, 1]) / quadratic
    half = np.sqrt(np.maximum(middle**2 - (a * a - squares[:, 0, 0]) / quadratic, 0.0))
    # The share lies inside by Fieller's theorem; rounding must not say otherwise where the interval is a point.
    low, high = np.minimum(middle - half, ratio), np.maximum(middle + half, ratio)
    direction = np.column_stack([np.ones_like(ratio), -ratio])[:, None, :]
    spread = (direction @ means)[:, 0].std(axis=1, ddof=1) / b
    error = np.sqrt(np.maximum(direction @ parts.items @ direction.mT, 0.0))[:, 0, 0] / b
    columns = (each.tolist() for each in (clear, ratio, low, high, spread, error))
    return [
        Interval(mean, lowest, highest, seeds, over_seeds, of_items, "t") if told else None
        for told, mean, lowest, highest, over_seeds, of_items in zip(*columns, strict=True)
    ]
