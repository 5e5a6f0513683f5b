"""Forgetting: how much worse the base became at what it was pretrained on."""

from collections.abc import Sequence
from statistics import fmean

from inarch_benchmarks.analysis.findings import Row
from inarch_benchmarks.report.chart import Canvas, Chart, Key, Panel
from inarch_benchmarks.report.figures import figures
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.theme import BLUE, GREEN, GRID, INK, ORANGE
from inarch_benchmarks.report.ticks import as_room_allows
from inarch_benchmarks.report.words import signed

LINE = 24
"""Pixels for each contender."""

LINEAR = 0.01
"""Nats up to which the axis is linear; beyond, it is logarithmic."""

TICKS = (0.0, *(sign * digit * 10.0**power for digit in (1, 2, 5) for power in range(3, -4, -1) for sign in (1, -1)))
"""What may be written at the axis, the most welcome first."""

COLOURS = {"method": BLUE, "reference": GREEN, "control": ORANGE}


def forgetting(places: Sequence[Place]) -> Chart | None:
    """The chart of forgetting; None where no base has general data to be measured on."""
    panels = tuple(_panel(place) for place in places if _measured(place))
    if not panels:
        return None
    kinds = dict.fromkeys(row.entry.kind for place in places for row in _measured(place))
    return Chart(
        "forgetting",
        "Forgetting",
        "Forgetting",
        "Rise of the base's own loss on held-out general data, in nats an item, from before training to after it: "
        "right is worse. Small dots are seeds, large ones their means. The axis is linear up to 0.01 and logarithmic "
        "beyond.",
        panels,
        tuple(Key(COLOURS[kind], {"control": "control without pretraining"}.get(kind, kind)) for kind in kinds),
    )


def _measured(place: Place) -> list[Row]:
    rows = [row for row in place.rows if figures(row).forgetting]
    return sorted(rows, key=lambda row: fmean(figures(row).forgetting))


def _panel(place: Place) -> Panel:
    rows = _measured(place)
    alt = (
        f"{place.label}: forgetting of {len(rows)} contenders, from {rows[0].entry.contender} "
        f"({signed(fmean(figures(rows[0]).forgetting))}) to {rows[-1].entry.contender} "
        f"({signed(fmean(figures(rows[-1]).forgetting))})."
    )
    left = 24 + int(6.4 * max(len(row.entry.contender) for row in rows))
    height = 70 + LINE * len(rows)
    return Panel(place.label, alt, lambda canvas: _draw(canvas, rows), height=height, left=min(left, 200))


def _draw(canvas: Canvas, rows: Sequence[Row]) -> None:
    axes = canvas.axes
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.axvline(0, color=INK, linewidth=0.8)
    for position, row in enumerate(reversed(rows)):
        values, colour = figures(row).forgetting, COLOURS[row.entry.kind]
        axes.plot(values, [position] * len(values), "o", color=colour, markersize=3.5, alpha=0.4, markeredgewidth=0)
        mark = axes.plot(fmean(values), position, "o", color=colour, markersize=7, zorder=4)[0]
        canvas.tip(mark, f"{row.entry.contender}: {signed(fmean(values))} nats")
    axes.set_yticks(range(len(rows)), [row.entry.contender[:28] for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", color=GRID)
    as_room_allows(axes, TICKS)
    axes.set_xlabel("rise of the loss, nats an item")
