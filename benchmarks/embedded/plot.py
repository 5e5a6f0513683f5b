"""The picture: accuracy against trainable parameters."""

from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import Any

from inarch_benchmarks.embedded.comparison import Row
from inarch_benchmarks.embedded.contenders import CONTROL

PRETRAINED, RANDOM, TEXT = "#1f5fa8", "#c2571a", "#333333"

NEAR = 0.4
"""Two points closer than this, in decades of trainable parameters, could write over each other's labels."""


def save_plot(rows: Sequence[Row], path: Path, subtitle: str) -> None:
    """Draw the rows, with their spreads as bars, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _dress(axes, subtitle)
    for row in rows:
        _point(axes, row, above=_goes_above(row, rows))
    _scale(axes, rows)
    axes.legend(loc="upper left", frameon=False, labelcolor=TEXT)
    figure.savefig(path)


def _dress(axes: Any, subtitle: str) -> None:
    """Everything but the points."""
    axes.set_title(f"Accuracy against trainable parameters\n{subtitle}", loc="left", fontsize=11, color=TEXT)
    axes.set_xlabel("trainable parameters, head included (log scale)", color=TEXT)
    axes.set_ylabel("test accuracy", color=TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.tick_params(colors=TEXT)
    for label, colour, marker in (("pretrained base", PRETRAINED, "o"), ("random base", RANDOM, "D")):
        axes.plot([], [], linestyle="none", color=colour, marker=marker, label=label)


def _point(axes: Any, row: Row, *, above: bool) -> None:
    colour, marker = (RANDOM, "D") if row.contender == CONTROL else (PRETRAINED, "o")
    axes.errorbar(
        row.trainable, row.accuracy, yerr=row.spread, fmt=marker, color=colour, markersize=7, capsize=3, elinewidth=1.2
    )
    axes.annotate(
        row.contender.removesuffix(", random base"),  # the legend says it
        (row.trainable, row.accuracy + (row.spread if above else -row.spread)),
        xytext=(0, 6 if above else -6),
        textcoords="offset points",
        ha="center",
        va="bottom" if above else "top",
        fontsize=9,
        color=colour,
    )


def _goes_above(row: Row, rows: Sequence[Row]) -> bool:
    """A label stands above its point, or below it if another point close by is higher."""
    near = [other for other in rows if abs(log10(other.trainable / row.trainable)) < NEAR]
    return max(near, key=lambda other: (other.accuracy, other.trainable)) == row


def _scale(axes: Any, rows: Sequence[Row]) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

    axes.set_xscale("log")
    axes.set_xlim(min(row.trainable for row in rows) / 1.6, max(row.trainable for row in rows) * 1.6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.margins(y=0.15)
