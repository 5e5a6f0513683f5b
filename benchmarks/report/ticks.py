"""Ticks of axes."""

from collections.abc import Iterable
from typing import Any

from inarch_benchmarks.report.words import number, plain

FINE = 0.06
"""Over less than this, seven ticks are nearer to each other than a hundredth."""

BETWEEN = 46
"""Pixels at least from one number below an axis to the next."""


def in_round_steps(axis: Any) -> None:
    """Ticks at 1, 2 or 5 of a decimal place, and as many decimals as tell them apart."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def told(value: float, place: int | None) -> str:
        low, high = axis.get_view_interval()
        return number(value, 3 if high - low < FINE else 2)

    axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(told))


def as_room_allows(axes: Any, values: Iterable[float]) -> None:
    """Ticks of the lower axis at those values that are in its range and have room, the first before the others."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    low, high = axes.get_xlim()
    written: dict[float, float] = {}
    for value in values:
        place = axes.transData.transform((value, 0.0))[0]
        if low <= value <= high and all(abs(place - other) >= BETWEEN for other in written.values()):
            written[value] = place
    axes.set_xticks(sorted(written))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
