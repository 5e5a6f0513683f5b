"""The heat map: every contender on every task."""

from collections.abc import Sequence
from math import isfinite

from inarch_benchmarks.analysis.findings import Findings, Row
from inarch_benchmarks.report.chart import Canvas, Chart, Panel
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.words import NOTHING, interval, number, share

LINE = 26
COLUMN = 92


def heat(findings: Findings, places: Sequence[Place]) -> Chart | None:
    """The chart of contenders against tasks; None where nothing has a score."""
    if not any(row.score for place in places for row in place.rows):
        return None
    by_gap = all(any(row.gap for row in place.rows) for place in places)
    contenders = _order(findings, places)
    what = "share of the way from the head alone to full fine-tuning" if by_gap else "mean of the main metric"
    left = 24 + int(6.4 * max(map(len, contenders)))
    panel = Panel(
        "",
        f"The {what}: {len(contenders)} contenders on {len(places)} tasks, all of them in the table of figures.",
        lambda canvas: _draw(canvas, contenders, places, by_gap=by_gap),
        width=max(min(left, 220) + 30 + COLUMN * len(places), 420),
        height=70 + LINE * len(contenders),
        left=min(left, 220),
    )
    caption = f"Each cell is the {what}; the best over all tasks stand at the top. " + (
        "Less than nothing and more than all are coloured as nothing and as all." if by_gap else
        "Colours go from the lowest to the highest of each task."
    )  # fmt: skip
    return Chart("heat-map", "Heat map", "Methods by task", caption, (panel,))


def _order(findings: Findings, places: Sequence[Place]) -> list[str]:
    """Contenders with the best summary first; those that are not summed up follow."""

    def worth(name: str) -> float:
        for summary in findings.summaries:
            if summary.contender == name:
                told = summary.gap.mean if summary.gap else summary.score
                return -told if told is not None and isfinite(told) else 1e9
        return 1e9

    names = dict.fromkeys(row.entry.contender for place in places for row in place.rows)
    return sorted(names, key=worth)


def _draw(canvas: Canvas, contenders: Sequence[str], places: Sequence[Place], *, by_gap: bool) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    axes = canvas.axes
    shades = colormaps["cividis"]
    for across, place in enumerate(places):
        rows = {row.entry.contender: row for row in place.rows}
        scores = [row.score.mean for row in place.rows if row.score]
        for down, name in enumerate(contenders):
            value, text = _value(rows.get(name), scores, by_gap=by_gap)
            if value is None:
                axes.text(across, down, NOTHING, ha="center", va="center")
                continue
            # Darker is lower on a light screen and on a dark one, so the letters' colour follows the cell alone.
            box = Rectangle((across - 0.48, down - 0.46), 0.96, 0.92, facecolor=shades(value), linewidth=0)
            axes.add_patch(box)
            row = rows[name]
            canvas.tip(box, f"{name} on {place.label}: {place.metric} {interval(row.score)}")
            axes.text(across, down, text, ha="center", va="center", color="#ffffff" if value < 0.52 else "#111111")
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_ylim(len(contenders) - 0.5, -0.5)
    axes.set_xticks(range(len(places)), [place.label for place in places])
    axes.set_yticks(range(len(contenders)), [name[:30] for name in contenders])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _value(row: Row | None, scores: Sequence[float], *, by_gap: bool) -> tuple[float | None, str]:
    """How bright a cell is, from 0 to 1, and what stands in it."""
    if row is None or row.score is None:
        return None, ""
    if by_gap:
        if row.gap is None or not isfinite(row.gap.mean):
            return None, ""
        return min(max(row.gap.mean, 0.0), 1.0), share(row.gap.mean)
    span = (max(scores) - min(scores)) or 1.0
    return (row.score.mean - min(scores)) / span, number(row.score.mean)
