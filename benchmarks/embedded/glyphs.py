"""Glyphs: classes of invented signs, drawn by rule, on which the demo's base model is pretrained.

A class is a skeleton of one to three strokes (a line with corners, a curve or an arc). A glyph is that skeleton with
its points shaken, bent, turned and slanted, fitted to the picture as handwriting is fitted to a form, and inked with a
pen of varying width. Nothing here comes from the handwritten digits that the base model is adapted to.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inarch_benchmarks.embedded.dice import Dice

SIZE = 8
"""Height and width of a picture in pixels."""

INK = 16
"""The darkest pixel; scikit-learn's digits count up to it too."""

Points = NDArray[np.float64]
"""Coordinates in (-1, 1), x to the right and y down, shape (..., points, 2)."""


@dataclass(frozen=True)
class Alphabet:
    """Which glyphs are drawn.

    Attributes:
        classes: Number of skeletons.
        copies: Glyphs of each skeleton.
        seed: Of everything that is drawn by chance.
    """

    classes: int = 200
    copies: int = 50
    seed: int = 0


@dataclass(frozen=True)
class Glyphs:
    """Drawn glyphs.

    Attributes:
        images: Ink from 0 to ``INK``, shape (glyphs, SIZE, SIZE).
        labels: Class of each glyph, shape (glyphs,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def sha256(self) -> str:
        """The SHA-256 of shapes, images and labels: equal on every machine for one alphabet."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(self.images.tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Skeleton:
    """The strokes of one class.

    Attributes:
        points: Shape (points, 2).
        ends: Indices of the two points that each segment joins, shape (segments, 2).
    """

    points: Points
    ends: NDArray[np.int64]


def draw(alphabet: Alphabet) -> Glyphs:
    """Draw an alphabet: its classes one after the other, ``copies`` glyphs each."""
    dice = Dice(alphabet.seed)
    images = [_draw_class(dice, alphabet.copies) for _ in range(alphabet.classes)]
    return Glyphs(np.concatenate(images), np.repeat(np.arange(alphabet.classes), alphabet.copies))


def _draw_class(dice: Dice, copies: int) -> NDArray[np.uint8]:
    skeleton = _skeleton(dice)
    points = _fitted(dice, _slanted(dice, _bent(dice, _shaken(dice, skeleton.points, copies))))
    return _inked(points[:, skeleton.ends], dice.uniform(0.1, 0.2, copies))


def _skeleton(dice: Dice) -> Skeleton:
    strokes = [_STROKES[dice.below(len(_STROKES))](dice) for _ in range(1 + dice.below(3))]
    stroke_of = np.repeat(np.arange(len(strokes)), [len(stroke) for stroke in strokes])
    starts = np.flatnonzero(stroke_of[:-1] == stroke_of[1:])  # no segment from one stroke to the next
    return Skeleton(np.concatenate(strokes), np.stack([starts, starts + 1], axis=-1))


def _line(dice: Dice) -> Points:
    """Two to four corners."""
    return dice.uniform(-1, 1, 2 + dice.below(3), 2)


def _curve(dice: Dice) -> Points:
    """A cubic Bezier curve in six segments."""
    start, one, two, end = dice.uniform(-1.3, 1.3, 4, 2)
    t = np.linspace(0, 1, 7)[:, None]
    points: Points = (1 - t) ** 3 * start + 3 * t * (1 - t) ** 2 * one + 3 * t**2 * (1 - t) * two + t**3 * end
    return points


def _arc(dice: Dice) -> Points:
    """A third of an ellipse up to all of it, in seven segments."""
    centre, radii = dice.uniform(-0.4, 0.4, 2), dice.uniform(0.3, 0.9, 2)
    start, sweep = dice.uniform(0, 2 * math.pi, 1), dice.uniform(0.6 * math.pi, 2 * math.pi, 1)
    angle = start + sweep * np.linspace(0, 1, 8)
    points: Points = centre + radii * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return points


_STROKES = (_line, _curve, _arc)


def _shaken(dice: Dice, points: Points, copies: int) -> Points:
    """Copies with every point moved on its own: (points, 2) -> (copies, points, 2)."""
    return points + dice.uniform(-0.06, 0.06, copies, *points.shape)


def _bent(dice: Dice, points: Points) -> Points:
    """Each copy bent by a quadratic map of its own."""
    x, y = points[..., 0], points[..., 1]
    squares = np.stack([x * x, y * y, x * y], axis=-1)
    return points + squares @ dice.uniform(-0.15, 0.15, len(points), 3, 2)


def _slanted(dice: Dice, points: Points) -> Points:
    """Each copy turned by up to 17 degrees and slanted by up to 19."""
    angle, shear = dice.uniform(-0.3, 0.3, len(points)), dice.uniform(-0.35, 0.35, len(points))
    cos, sin = np.cos(angle), np.sin(angle)
    matrices = np.stack([cos, sin, cos * shear - sin, sin * shear + cos], axis=-1).reshape(-1, 2, 2)
    slanted: Points = points @ matrices
    return slanted


def _fitted(dice: Dice, points: Points) -> Points:
    """Each copy stretched to most of the height and part of the width of the picture, near its middle."""
    low, high = points.min(axis=1, keepdims=True), points.max(axis=1, keepdims=True)
    half = np.maximum((high - low) / 2, 0.25)  # a straight stroke stays thin
    stretch = np.stack([dice.uniform(0.5, 0.85, len(points)), dice.uniform(0.8, 0.95, len(points))], axis=-1)
    shift = np.stack([dice.uniform(-0.1, 0.1, len(points)), dice.uniform(-0.03, 0.03, len(points))], axis=-1)
    fitted: Points = (points - (low + high) / 2) / half * stretch[:, None] + shift[:, None]
    return fitted


def _inked(segments: Points, half_widths: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Ink by distance, falling over one pixel at the edge of the stroke.

    Args:
        segments: Shape (copies, segments, 2 ends, 2).
        half_widths: Half the width of the pen, shape (copies,).

    Returns:
        Shape (copies, SIZE, SIZE).
    """
    distance = np.sqrt(_squared_distances(segments).min(axis=1)).reshape(-1, SIZE, SIZE)
    cover = (half_widths[:, None, None] - distance) * SIZE / 2 + 0.5
    ink: NDArray[np.uint8] = np.rint(np.clip(cover, 0, 1) * INK).astype(np.uint8)
    return ink


def _squared_distances(segments: Points) -> NDArray[np.float64]:
    """Of every pixel's middle to every segment: (copies, segments, 2, 2) -> (copies, segments, SIZE * SIZE)."""
    axis = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
    pixels = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    start, along = segments[:, :, None, 0], segments[:, :, None, 1] - segments[:, :, None, 0]
    away = pixels - start
    t = np.clip((away * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12), 0, 1)
    return np.asarray(((away - t[..., None] * along) ** 2).sum(-1))
