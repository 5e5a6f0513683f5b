"""Tuning curves: the score of every trial against its learning rate, a band for each contender."""

from collections import Counter
from collections.abc import Collection, Sequence
from math import log10
from typing import Any

from inarch_benchmarks.analysis.entry import Trial
from inarch_benchmarks.analysis.findings import Row
from inarch_benchmarks.report.chart import Canvas, Chart, Key, Panel
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.theme import BLUE, GRID, INK, MUTED, ORANGE, PAPER
from inarch_benchmarks.report.ticks import as_room_allows
from inarch_benchmarks.report.words import number, settings

RATE = "learning_rate"
BAND = 34
"""Pixels for each contender."""

LEFT_OF_RATES, RIGHT_OF_RATES = 16, 56
"""Pixels before the first learning rate and after the last."""


def trials(places: Sequence[Place]) -> Chart | None:
    """The chart of the trials; None where nothing was tuned."""
    panels = tuple(_panel(place) for place in places if _tuned(place))
    if not panels:
        return None
    return Chart(
        "tuning-curves",
        "Tuning",
        "Tuning curves",
        "Each band is one contender: its trials on validation data, joined along the best of each learning rate. Its "
        "best score is written at the right and lies at the top of the band; how far the others fall below it has one "
        "scale for all contenders of a task. A choice on the edge of what was tried might have been better beyond it.",
        panels,
        (
            Key(BLUE, "trial", filled=False),
            Key(BLUE, "chosen"),
            Key(ORANGE, "chosen, on the edge", "D"),
            Key(ORANGE, "failed", "x"),
        ),
    )


def _tuned(place: Place) -> list[Row]:
    return [row for row in place.rows if any(RATE in trial.settings for trial in row.entry.trials)]


def _panel(place: Place) -> Panel:
    rows = _tuned(place)
    edges = sum(row.entry.edge for row in rows)
    alt = (
        f"{place.label}: {sum(len(row.entry.trials) for row in rows)} trials of {len(rows)} contenders over the "
        f"learning rate; the choice of {edges} lies on an edge."
    )
    left = 24 + int(6.4 * max(len(row.entry.contender) for row in rows))
    return Panel(
        place.label, alt, lambda canvas: _draw(canvas, rows), height=70 + BAND * len(rows), left=min(left, 200)
    )


def _draw(canvas: Canvas, rows: Sequence[Row]) -> None:
    axes = canvas.axes
    deepest = max(map(_depth, rows)) or 1.0
    axes.set_xscale("log")
    axes.autoscale(False)
    for position, row in enumerate(rows):
        floor = len(rows) - 1 - position
        axes.axhline(floor, color=GRID, linewidth=0.8, zorder=1)
        _band(canvas, row, floor, deepest)
    rates = Counter(trial.settings[RATE] for row in rows for trial in row.entry.trials if RATE in trial.settings)
    _widen(axes, rates)
    axes.set_ylim(-0.25, len(rows))
    axes.set_yticks([len(rows) - 0.6 - position for position in range(len(rows))], [_short(row) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    as_room_allows(axes, [rate for rate, _ in rates.most_common()])
    axes.set_xlabel("learning rate (log scale)")


def _widen(axes: Any, rates: Collection[float]) -> None:
    """Give the axis room on both sides: on the right the best scores are written."""
    low, high = log10(min(rates)), log10(max(rates))
    pixel = (high - low or 1.0) / (axes.bbox.width - LEFT_OF_RATES - RIGHT_OF_RATES)
    axes.set_xlim(10 ** (low - LEFT_OF_RATES * pixel), 10 ** (high + RIGHT_OF_RATES * pixel))


def _depth(row: Row) -> float:
    """From the best of its trials to the worst."""
    scores = [trial.score for trial in row.entry.trials if trial.score is not None]
    return max(scores) - min(scores) if scores else 0.0


def _band(canvas: Canvas, row: Row, floor: float, deepest: float) -> None:
    top = max((trial.score for trial in row.entry.trials if trial.score is not None), default=0.0)

    def height(score: float) -> float:
        return floor + 0.82 - 0.7 * (top - score) / deepest

    known = [(trial.settings[RATE], trial.score, trial) for trial in row.entry.trials if RATE in trial.settings]
    scored = [(rate, score, trial) for rate, score, trial in known if score is not None]
    best = {rate: max(score for at, score, _ in scored if at == rate) for rate, _, _ in scored}
    canvas.axes.plot(sorted(best), [height(best[rate]) for rate in sorted(best)], color=BLUE, linewidth=1.2, alpha=0.6)
    for rate, score, trial in sorted(known, key=lambda one: one[2].chosen):
        if score is None:
            mark = canvas.axes.plot(rate, floor + 0.12, "x", color=ORANGE, markersize=6)[0]
        else:
            edge = trial.chosen and row.entry.edge
            colour = ORANGE if edge else BLUE
            mark = canvas.axes.plot(
                rate, height(score), "D" if edge else "o", color=colour, markersize=7 if trial.chosen else 4.5,
                markerfacecolor=colour if trial.chosen else PAPER, zorder=4,
            )[0]  # fmt: skip
        canvas.tip(mark, _told(row, trial))
    if best:
        canvas.axes.text(
            0.995, floor + 0.4, number(max(best.values())), transform=canvas.axes.get_yaxis_transform(),
            ha="right", va="center", color=MUTED if row.entry.edge else INK,
        )  # fmt: skip


def _told(row: Row, trial: Trial) -> str:
    score = "failed" if trial.score is None else number(trial.score)
    chosen = ", chosen" if trial.chosen else ""
    return f"{row.entry.contender}, {settings(trial.settings.items())}: {score}{chosen}"


def _short(row: Row) -> str:
    name = row.entry.contender
    return name if len(name) <= 28 else f"{name[:27]}…"
