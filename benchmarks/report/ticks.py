"""Ticks of an axis of scores."""

from typing import Any

from inarch_benchmarks.report.words import number

FINE = 0.06
"""Over less than this, seven ticks are nearer to each other than a hundredth."""


def in_round_steps(axis: Any) -> None:
    """Ticks at 1, 2 or 5 of a decimal place, and as many decimals as tell them apart."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def told(value: float, place: int | None) -> str:
        low, high = axis.get_view_interval()
        return number(value, 3 if high - low < FINE else 2)

    axis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(told))
