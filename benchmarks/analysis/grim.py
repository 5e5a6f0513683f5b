"""The GRIM test: could a reported mean have come from so many items at all?

The mean of N whole numbers is a multiple of 1/N. Where 1/N is coarser than the rounding, most decimals are impossible
(N. J. L. Brown and J. A. J. Heathers 2017, "The GRIM Test", Social Psychological and Personality Science 8, 363-369).
An accuracy over n items is such a mean; the mean of k runs on them has N = kn, the median of an odd number of runs n.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Literal

import numpy as np
from scipy.special import bdtrc

Statistic = Literal["mean", "median"]

SUSPICION = 0.001
"""Values that would fit fewer runs than said so often by chance alone are worth a remark."""


@dataclass(frozen=True)
class Reported:
    """One figure of an imported table.

    Attributes:
        label: Whose, such as ``LoRA r8``.
        column: Of what, such as ``RTE``.
        value: As it was printed, with its zeros at the end: they say how it was rounded.
        items: Number of test items.
        runs: Of how many runs it is said to be the mean or median.
        statistic: Which of the two.
        percent: Whether it is a percentage, not a share.
    """

    label: str
    column: str
    value: str
    items: int
    runs: int = 1
    statistic: Statistic = "mean"
    percent: bool = True


def grain(items: int, runs: int = 1, statistic: Statistic = "mean") -> int:
    """The N of which every such mean or median of accuracies is a multiple of 1/N."""
    if statistic == "mean":
        return items * runs
    return items if runs % 2 else 2 * items


def possible(value: str, count: int, *, percent: bool = False) -> bool:
    """Whether some whole number over ``count`` rounds to ``value``.

    Halves may have been rounded up or down: papers do both.

    Args:
        value: As printed, such as ``"5.19"``.
        count: What the whole number is divided by.
        percent: Whether the value is a percentage.
    """
    low, high = _range(value, percent)
    return ceil(low * count) <= floor(high * count)


def check_table(rows: Sequence[Reported]) -> list[str]:
    """What is wrong with a table, one sentence each; empty where every figure may be what it is said to be.

    Besides single figures that are impossible, it finds columns said to be means of several runs in which all too many
    figures could be single runs, or medians.
    """
    remarks = [_impossible(row) for row in rows if not _fits(row, grain(row.items, row.runs, row.statistic))]
    columns: dict[tuple[str, int, int], list[Reported]] = {}
    for row in rows:
        if row.runs > 1 and row.statistic == "mean":
            columns.setdefault((row.column, row.items, row.runs), []).append(row)
    return remarks + [remark for some in columns.values() for remark in _too_coarse(some)]


def _impossible(row: Reported) -> str:
    said = f"{row.value}{' %' if row.percent else ''}"
    of = f"{row.items} items" if row.runs == 1 else f"{row.runs} runs on {row.items} items"
    kind = "mean" if row.runs == 1 else row.statistic
    return f"{row.label}, {row.column}: {said} cannot be the {kind} of {of}."


def _too_coarse(rows: Sequence[Reported]) -> list[str]:
    first = rows[0]
    single = [row for row in rows if _fits(row, row.items)]
    chance = float(bdtrc(len(single) - 1, len(rows), max(map(_coincidence, rows))))
    if chance >= SUSPICION:
        return []
    return [
        f"{first.column}: {len(single)} of {len(rows)} figures are whole numbers over {first.items}, as single runs or "
        f"medians are; of means of {first.runs} runs so many would be with a probability of {chance:.1g}."
    ]


def _coincidence(row: Reported) -> float:
    """The share of possible means of several runs that, rounded like this one, a single run may have, too."""
    units = (100 if row.percent else 1) * 10 ** _digits(row.value)
    if row.items >= units:
        return 1.0  # rounding is coarser than a single run's grain
    total = row.items * row.runs
    rounded = (2 * units * np.arange(total + 1) + total) // (2 * total)
    least = -((-(2 * rounded - 1) * row.items) // (2 * units))
    most = ((2 * rounded + 1) * row.items) // (2 * units)
    return float(np.mean(least <= most))


def _fits(row: Reported, count: int) -> bool:
    low, high = _range(row.value, row.percent)
    return ceil(max(low, Fraction(0)) * count) <= floor(min(high, Fraction(1)) * count)


def _range(value: str, percent: bool) -> tuple[Fraction, Fraction]:
    number = Decimal(value)
    half = Fraction(1, 2 * 10 ** _digits(value))
    scale = 100 if percent else 1
    return (Fraction(number) - half) / scale, (Fraction(number) + half) / scale


def _digits(value: str) -> int:
    return max(-int(Decimal(value).as_tuple().exponent), 0)
