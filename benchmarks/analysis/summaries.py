"""Summaries: one contender over all tasks."""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from inarch_benchmarks.analysis.findings import Interval, Row, Summary
from inarch_benchmarks.analysis.stacks import mark


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """One a contender, in the order in which they first appear."""
    places = {(row.entry.task, row.entry.model) for row in rows}
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row.entry.contender, []).append(row)
    return [_summary(label, some, len(places)) for label, some in grouped.items()]


def mean_gap(gaps: Sequence[Interval]) -> Interval:
    """The mean of shares on several tasks, whose errors are independent: other runs, other items.

    The tasks are taken as they are; the interval says nothing of tasks that are not in the suite. Distances to the ends
    are added in quadrature (MOVER: Zou and Donner 2008, Statistics in Medicine 27, 1693-1702).
    """
    count = len(gaps)
    means = [gap.mean for gap in gaps]
    mean = float(np.mean(means))
    return Interval(
        mean=mean,
        low=mean - sqrt(sum((gap.mean - gap.low) ** 2 for gap in gaps)) / count,
        high=mean + sqrt(sum((gap.high - gap.mean) ** 2 for gap in gaps)) / count,
        seeds=min(gap.seeds for gap in gaps),
        spread=float(np.std(means, ddof=1)) if count > 1 else float("nan"),
        item_error=sqrt(sum(gap.item_error**2 for gap in gaps)) / count,
        kind="t",
    )


def _summary(label: str, rows: Sequence[Row], places: int) -> Summary:
    gaps = [row.gap for row in rows if row.gap is not None]
    means = [row.score.mean for row in rows if row.score is not None]
    return Summary(
        contender=label,
        gap=mean_gap(gaps) if gaps else None,
        score=float(np.mean(means)) if len(means) == places else None,
        tasks=len(means),
        stack=mark(letter for row in rows for letter in row.stack.split("+") if letter),
    )
