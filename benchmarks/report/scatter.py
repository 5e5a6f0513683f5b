"""Score against what it costs: trained parameters, memory, or time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, log10, nan
from typing import Any

from inarch_benchmarks.analysis.findings import Interval, Row
from inarch_benchmarks.comparison.suite import PublishedRow
from inarch_benchmarks.report.about import About
from inarch_benchmarks.report.chart import Canvas, Chart, Key, Panel
from inarch_benchmarks.report.figures import Figures, figures
from inarch_benchmarks.report.headline import LIKELY
from inarch_benchmarks.report.labels import JOINED, Box, Label, extent, placed
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.theme import BLUE, GREEN, GRID, INK, MUTED, ORANGE, PAPER, PURPLE
from inarch_benchmarks.report.ticks import in_round_steps
from inarch_benchmarks.report.words import count, interval, listed, number, seconds, share, size


@dataclass(frozen=True)
class Cost:
    """What a score is set against.

    Attributes:
        name: Of the chart's files.
        short: Of its section in the list of sections.
        title: Of the axis.
        of: The figure.
        text: The figure in words.
        fronts: Whether the probabilities of the findings are of this front.
    """

    name: str
    short: str
    title: str
    of: Callable[[Figures], float | None]
    text: Callable[[float | None], str]
    fronts: bool = False


COSTS = (
    Cost("parameters", "Parameters", "trained parameters", lambda found: found.trainable, count, fronts=True),
    Cost("memory", "Memory", "memory while training", lambda found: found.memory["total"], size),
    Cost("time", "Time", "time of a step", lambda found: found.step, seconds),
)

FAR = 0.3
"""References lower than this share of the methods' span below them are not drawn but written."""

LINES = {"full": "solid", "head": "dashed", "zero-shot": "dotted"}


@dataclass(frozen=True)
class _Point:
    row: Row
    score: Interval
    x: float
    colour: str
    marker: str
    filled: bool
    text: str
    told: str


def scatter(places: Sequence[Place], cost: Cost, about: About) -> Chart | None:
    """The chart of one cost; None where no run has that figure."""
    panels = tuple(_panel(place, cost, about) for place in places if _points(place, cost))
    if not panels:
        return None
    caption = f"Up is better, left is cheaper; the axis of {cost.title} is logarithmic. Bars are 95 % intervals. "
    if cost.fronts:
        caption += (
            "Filled points are on the Pareto front with a probability of half or more; the number beside a name is "
            "that probability. The head is counted among the parameters, at their peak. "
        )
        front = Key(BLUE, "method, likely on the front")
    else:
        caption += "Filled points are beaten by no mean that costs less; their intervals say how sure that is. "
        front = Key(BLUE, "method, beaten by no cheaper mean")
    keys = [front, Key(BLUE, "another method", filled=False)]
    kinds = {row.entry.kind for place in places for row in place.rows}
    if "control" in kinds:
        keys.append(Key(ORANGE, "control without pretraining", "D"))
    if not cost.fronts and "reference" in kinds:
        keys.append(Key(GREEN, "reference", "s"))
    if cost.fronts and any(_published(place, _points(place, cost), about) for place in places):
        keys.append(Key(PURPLE, "published figure", "^", filled=False))
    return Chart(f"score-{cost.name}", cost.short, f"Score against {cost.title}", caption, panels, tuple(keys))


def _panel(place: Place, cost: Cost, about: About) -> Panel:
    points = _points(place, cost)
    best = points[0]
    front = [point.row.entry.contender for point in points if point.filled and point.marker == "o"]
    alt = (
        f"{place.label}: {place.metric} against {cost.title} for {len(points)} contenders. "
        f"The highest is {best.told}. On the front: {listed(front) or 'none'}."
    )
    return Panel(place.label, alt, lambda canvas: _draw(canvas, place, cost, points, about))


def _points(place: Place, cost: Cost) -> list[_Point]:
    points = []
    one_budget = len({row.entry.budget for row in place.methods}) == 1
    scored = [(row, row.score, cost.of(figures(row))) for row in place.rows]
    known = [(row, score, x) for row, score, x in scored if score is not None and x]
    for row, score, x in known:
        kind = row.entry.kind
        if kind == "reference" and (cost.fronts or not figures(row).trainable):
            continue  # a line, or nothing: what is not trained has no cost of training
        if kind != "method":
            filled = True
        elif cost.fronts:
            filled = row.front >= LIKELY
        else:
            filled = not any(
                other.mean > score.mean and cheaper <= x for one, other, cheaper in known if one.entry.kind == "method"
            )
        name = row.entry.contender
        text = name.rpartition(" @ ")[0] or name if one_budget and row.entry.budget else name
        if cost.fronts and kind == "method" and row.front >= 0.05:
            text = f"{text} {share(row.front)}"
        told = f"{name}: {place.metric} {interval(score)}, {cost.title} {cost.text(x)}"
        if cost.fronts and kind == "method":
            told += f", on the front with a probability of {share(row.front)}"
        colour, marker = {"method": (BLUE, "o"), "reference": (GREEN, "s"), "control": (ORANGE, "D")}[kind]
        points.append(_Point(row, score, x, colour, marker, filled, text, told))
    return points


def _draw(canvas: Canvas, place: Place, cost: Cost, points: Sequence[_Point], about: About) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes = canvas.axes
    axes.set_xscale("log")
    axes.autoscale(False)
    left, right = _reach(points)
    axes.set_xlim(left, right)
    axes.set_ylim(*_span(place, points))
    if right / left < 8:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    elif right / left < 60:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: cost.text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    in_round_steps(axes.yaxis)
    axes.set_xlabel(f"{cost.title} (log scale)")
    axes.set_ylabel(place.metric)
    axes.grid(axis="x", which="both", visible=False)
    words = _lines(canvas, place, points)
    for published, score in _published(place, points, about) if cost.fronts else ():
        mark = axes.plot(published.parameters, score, "^", color=PURPLE, markerfacecolor=PAPER, zorder=3)[0]
        canvas.tip(mark, f"{published.label}, {published.source}: {published.score}")
    steps = _stairs(axes, points)
    _bars(axes, points)
    for point in points:
        _mark(canvas, point)
    _name(axes, points, words, steps)


def _reach(points: Sequence[_Point]) -> tuple[float, float]:
    low, high = min(point.x for point in points), max(point.x for point in points)
    room = 10 ** max(0.12 * log10(high / low), 0.15)
    return low / room, high * room


def _span(place: Place, points: Sequence[_Point]) -> tuple[float, float]:
    """From the lowest to the highest; references far below the methods would press these together and are left out."""
    ends = [end for point in points for end in (point.score.low, point.score.high, point.score.mean) if isfinite(end)]
    lines = [row.score.mean for row in place.rows if row.score and row.entry.kind == "reference"]
    ends.append(max(lines, default=ends[0]))
    reach = min(ends) - FAR * (max(ends) - min(ends))
    ends += [line for line in lines if line >= reach]
    margin = 0.08 * (max(ends) - min(ends)) or 0.05
    return min(ends) - margin, max(ends) + margin


def _lines(canvas: Canvas, place: Place, points: Sequence[_Point]) -> list[tuple[float, str, str]]:
    """References as lines over the whole width, and what is to be written at them: height, words, colour."""
    words = []
    drawn = {point.row.entry.contender for point in points}
    low, high = canvas.axes.get_ylim()
    for row in place.rows:
        if row.entry.kind == "reference" and row.score is not None and row.entry.contender not in drawn:
            told = f"{row.entry.contender} {number(row.score.mean)}"
            if row.score.mean < low:
                words.append((low, f"{told} ↓", GREEN))
                continue
            style = LINES.get(row.entry.contender, "dashdot")
            line = canvas.axes.axhline(row.score.mean, color=GREEN, linewidth=1.3, linestyle=style, zorder=1)
            canvas.tip(line, f"{row.entry.contender}: {place.metric} {interval(row.score)}")
            words.append((row.score.mean, told, GREEN))
    if low <= place.chance <= high:
        canvas.axes.axhline(place.chance, color=MUTED, linewidth=0.8, linestyle=(0, (1, 3)), zorder=1)
        words.append((place.chance, "chance", MUTED))
    return words


def _published(place: Place, points: Sequence[_Point], about: About) -> list[tuple[PublishedRow, float]]:
    """Published figures of this task that lie where ours do, with their scores in our unit."""
    if not points:  # no run of this place has finished yet
        return []
    (left, right), (low, high) = _reach(points), _span(place, points)
    known = [(row, in_unit(row.score, place)) for row in about.published if row.task == place.task and row.parameters]
    return [(row, score) for row, score in known if left <= (row.parameters or 0) <= right and low <= score <= high]


def in_unit(published: float, place: Place) -> float:
    """A published score in the unit of the place: papers give percentages where a metric of ours ends at one."""
    ours = max((row.score.mean for row in place.rows if row.score), default=1.0)
    return published / 100 if abs(published) > 1.5 and ours <= 1 else published


def _stairs(axes: Any, points: Sequence[_Point]) -> list[tuple[float, float]]:
    """The best that can be had for at most so much, over the points of the front; gives its corners."""
    front = sorted((point for point in points if point.filled and point.marker == "o"), key=lambda point: point.x)
    heights: list[float] = []
    for point in front:
        heights.append(max([*heights[-1:], point.score.mean]))
    corners: list[tuple[float, float]] = []
    for x, height in zip([point.x for point in front], heights, strict=True):
        corners += [(x, corners[-1][1])] if corners else []
        corners.append((x, height))
    if corners:
        corners.append((axes.get_xlim()[1], corners[-1][1]))
        axes.plot(*zip(*corners, strict=True), color=BLUE, alpha=0.35, linewidth=1.5, zorder=2)
    return corners


def _bars(axes: Any, points: Sequence[_Point]) -> None:
    """Every interval, in one stroke a colour."""
    for colour in {point.colour for point in points}:
        mine = [point for point in points if point.colour == colour and point.score.kind != "none"]
        ends = [(point.x, end) for point in mine for end in (point.score.low, point.score.high, nan)]
        if ends:
            axes.plot(*zip(*ends, strict=True), color=colour, linewidth=1.4, alpha=0.6, zorder=3)


def _mark(canvas: Canvas, point: _Point) -> None:
    marks = canvas.axes.plot(
        point.x, point.score.mean, marker=point.marker, markersize=7, color=point.colour, linestyle="none", zorder=4,
        markerfacecolor=point.colour if point.filled else PAPER,
    )  # fmt: skip
    canvas.tip(marks[0], point.told)


def _name(
    axes: Any,
    points: Sequence[_Point],
    words: Sequence[tuple[float, str, str]],
    corners: Sequence[tuple[float, float]],
) -> None:
    """Names beside the points, the likely front first; those that find no room are in the tips and in the table."""
    to_pixels = axes.transData.transform
    bounds: Box = tuple(axes.bbox.extents)
    at = [tuple(to_pixels(corner)) for corner in corners]
    obstacles: list[Box] = [
        (min(one[0], other[0]) - 1, min(one[1], other[1]) - 1, max(one[0], other[0]) + 1, max(one[1], other[1]) + 1)
        for one, other in pairwise(at)
    ]
    labels = []
    for point in sorted(points, key=lambda point: (not point.filled, -point.row.front, -point.score.mean)):
        x, y = to_pixels((point.x, point.score.mean))
        obstacles.append((x - 5, y - 5, x + 5, y + 5))
        if point.score.kind != "none":
            ends = [to_pixels((point.x, end))[1] for end in (point.score.low, point.score.high)]
            obstacles.append((x - 1, ends[0], x + 1, ends[1]))
        labels.append((Label(point.text, x, y), INK if point.filled else MUTED))
    for height, text, colour in words:
        y = to_pixels((axes.get_xlim()[0], height))[1]
        obstacles.append((bounds[0], y - 0.7, bounds[2], y + 0.7))
        labels.insert(0, (Label(text, bounds[2] - extent(text)[0] / 2 - 4, y), colour))
    for (_, colour), found in zip(labels, placed([label for label, _ in labels], obstacles, bounds), strict=True):
        if found.centre is not None:
            _write(axes, found, colour)


def _write(axes: Any, label: Label, colour: str) -> None:
    assert label.centre is not None
    from_pixels = axes.transData.inverted().transform
    centre = from_pixels(label.centre)
    if label.reach > JOINED and colour != GREEN:
        point = from_pixels((label.x, label.y))
        axes.plot([point[0], centre[0]], [point[1], centre[1]], color=GRID, linewidth=0.9, zorder=1.5)
    axes.text(*centre, label.text, ha="center", va="center", color=colour, zorder=5)
