"""Places for the labels of points, so that none lies over another."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import numpy

from inarch_benchmarks.report.theme import SIZE

LETTER = 0.58 * SIZE
"""Mean width of a letter; a little much, since the reader's font is not known."""

LINE = 1.15 * SIZE

REACH = (7.0, 13.0, 21.0, 32.0, 46.0, 62.0, 80.0, 100.0)
"""How far a label may be from its point, in pixels; the nearest first."""

ANGLES = [2 * pi * step / 16 for step in (0, 4, 12, 8, 2, 14, 6, 10, 1, 3, 5, 7, 9, 11, 13, 15)]

JOINED = 15.0
"""From this reach on a line joins a label to its point."""

TOLERATED = 6.0
"""Square pixels that a label may have in common with what is there already."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


@dataclass(frozen=True)
class Label:
    """A label and where it goes.

    Attributes:
        text: What it says.
        x: Of its point, in pixels.
        y: Of its point.
        centre: Of the label; None where there was no room.
        reach: How far it is from its point; far ones are joined to it by a line.
    """

    text: str
    x: float
    y: float
    centre: tuple[float, float] | None = None
    reach: float = 0.0


def placed(labels: Sequence[Label], obstacles: Sequence[Box], bounds: Box) -> list[Label]:
    """The labels with their places; the first are the most important and get the best.

    Args:
        labels: What is to be placed.
        obstacles: What no label may cover: points, error bars, other words.
        bounds: Where labels may be.
    """
    done: list[Label] = []
    points = numpy.array([(label.x, label.y) for label in labels]).reshape(-1, 2)
    for label in labels:
        words = [_box(other.centre, other.text) for other in done if other.centre is not None]
        done.append(_place(label, _array([*obstacles, *words]), _array(words), points, bounds))
    return done


def _array(boxes: Sequence[Box]) -> Any:
    return numpy.array(boxes, dtype=float).reshape(-1, 4)


def _place(label: Label, taken: Any, words: Any, points: Any, bounds: Box) -> Label:
    wide, tall = extent(label.text)
    for reach in REACH:
        for angle in ANGLES:
            centre = (label.x + cos(angle) * (reach + wide / 2), label.y + sin(angle) * (reach + tall / 2))
            box = _box(centre, label.text)
            inside = box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
            if not inside or _covered(box, taken) > TOLERATED or _crosses(label, centre, words):
                continue
            if reach > JOINED or _nearest(label, box, points):
                return Label(label.text, label.x, label.y, centre, reach)
    return label


def extent(text: str) -> tuple[float, float]:
    """How wide and how high a label is, in pixels."""
    return LETTER * len(text), LINE


def _box(centre: tuple[float, float], text: str) -> Box:
    wide, tall = extent(text)
    return centre[0] - wide / 2, centre[1] - tall / 2, centre[0] + wide / 2, centre[1] + tall / 2


def _nearest(label: Label, box: Box, points: Any) -> bool:
    """Whether no other point is nearer to a label than its own."""
    across = numpy.maximum(0, numpy.maximum(box[0] - points[:, 0], points[:, 0] - box[2]))
    along = numpy.maximum(0, numpy.maximum(box[1] - points[:, 1], points[:, 1] - box[3]))
    far = numpy.hypot(across, along)
    own = (points[:, 0] == label.x) & (points[:, 1] == label.y)
    return bool(far[own].min() <= far[~own].min(initial=numpy.inf))


def _crosses(label: Label, centre: tuple[float, float], words: Any) -> bool:
    """Whether the line from a point to its label runs over another label."""
    along = numpy.linspace(0, 1, 12)[:, None]
    x, y = label.x + along * (centre[0] - label.x), label.y + along * (centre[1] - label.y)
    inside = (x > words[:, 0]) & (x < words[:, 2]) & (y > words[:, 1]) & (y < words[:, 3])
    return bool(inside.any())


def _covered(box: Box, taken: Any) -> float:
    across = numpy.minimum(box[2], taken[:, 2]) - numpy.maximum(box[0], taken[:, 0])
    along = numpy.minimum(box[3], taken[:, 3]) - numpy.maximum(box[1], taken[:, 1])
    return float((across.clip(0) * along.clip(0)).sum())
