"""Learning curves: the score on validation data while training goes on."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from inarch_benchmarks.analysis.findings import Findings, Row
from inarch_benchmarks.report.chart import Canvas, Chart, Key, Panel
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.theme import MUTED, SERIES
from inarch_benchmarks.report.ticks import in_round_steps
from inarch_benchmarks.report.words import listed, number

REFERENCES = ("full", "head")


def curves(findings: Findings, places: Sequence[Place]) -> Chart | None:
    """The chart of learning curves; None where no run has one."""
    shown = _shown(findings, places)
    colours = dict(zip(shown, SERIES, strict=False))
    panels = tuple(_panel(place, colours) for place in places if any(_curve(row) for row in place.rows))
    if not panels:
        return None
    keys = [Key(colour, name, "", "solid") for name, colour in colours.items()]
    return Chart(
        "learning-curves",
        "Learning",
        "Learning curves",
        "The main metric on validation data, the mean over seeds. Coloured are what the others are compared with and "
        "those that did best; all others are grey, with their names where a pointer rests on them.",
        panels,
        (*keys, Key(MUTED, "all others", "", "solid")),
    )


def _shown(findings: Findings, places: Sequence[Place]) -> list[str]:
    """The contenders with a colour: the baselines, full fine-tuning, the head, and the best over the tasks."""
    with_curve = {row.entry.contender: row for place in places for row in place.rows if _curve(row)}
    baselines = [found.other for found in findings.differences]
    ranked = sorted(
        (summary for summary in findings.summaries if summary.gap is not None or summary.score is not None),
        key=lambda summary: -(summary.gap.mean if summary.gap else summary.score or 0.0),
    )
    best = [s.contender for s in ranked if s.contender in with_curve and with_curve[s.contender].entry.kind == "method"]
    names = dict.fromkeys(name for name in [*REFERENCES, *baselines, *best] if name in with_curve)
    return list(names)[: len(SERIES)]


def _panel(place: Place, colours: Mapping[str, str]) -> Panel:
    rows = [row for row in place.rows if _curve(row)]
    here = [row.entry.contender for row in rows if row.entry.contender in colours]
    alt = (
        f"{place.label}: {place.metric} on validation data over the steps of training, {len(rows)} contenders; "
        f"coloured are {listed(here) or 'none'}."
    )
    return Panel(place.label, alt, lambda canvas: _draw(canvas, place, rows, colours), height=320)


def _draw(canvas: Canvas, place: Place, rows: Sequence[Row], colours: Mapping[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    for row in reversed(rows):
        curve, colour = _curve(row), colours.get(row.entry.contender)
        line = canvas.axes.plot(
            list(curve), list(curve.values()), color=colour or MUTED, linewidth=2 if colour else 0.9,
            alpha=1 if colour else 0.35, zorder=3 if colour else 2, marker="o" if len(curve) == 1 else "", markersize=4,
        )[0]  # fmt: skip
        canvas.tip(line, f"{row.entry.contender}: {number(list(curve.values())[-1])} in the end")
    canvas.axes.set_xlabel("steps")
    canvas.axes.set_ylabel(f"{place.metric}, validation")
    in_round_steps(canvas.axes.yaxis)
    canvas.axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _curve(row: Row) -> dict[int, float]:
    """Mean over seeds at every step at which each of them was measured."""
    curves = [
        dict(zip(run.curve.validation_steps, run.curve.validation, strict=True))
        for run in row.entry.finished
        if run.curve.validation
    ]
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {step: fmean(curve[step] for curve in curves) for step in sorted(common)}
