"""``real-text``: which of four packages a sentence documents."""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from inarch import DataError
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.embedded import reading
from inarch_benchmarks.embedded.dice import Dice
from inarch_benchmarks.embedded.reading import PACKAGES
from inarch_benchmarks.embedded.tasks.texts import LabelledText, TextTask

POOL, VALIDATION, TEST = 500, 75, 250
"""Sentences of each package."""


class RealTextTask(TextTask):
    """A sentence of documentation, and the package that it documents; its slices are the packages.

    Attributes:
        rows: Training sentences of each package.
    """

    name: ClassVar[str] = "real-text"
    chance: ClassVar[float] = 1 / len(PACKAGES)
    model: ClassVar[str] = "reader-bert"
    recipe: ClassVar[Recipe] = Recipe(steps=100, batch_size=32)
    labels: ClassVar[int] = len(PACKAGES)
    length: ClassVar[int] = 24
    rows: ClassVar[int] = 250

    def pool(self) -> Sequence[LabelledText]:
        """The first sentences of each package."""
        return _part(0, POOL)

    def training_texts(self, seed: int) -> Sequence[LabelledText]:
        """As many of each package."""
        dice = Dice(seed)
        by_label = [[text for text in self.pool() if text.label == label] for label in range(self.labels)]
        return [text for texts in by_label for text in dice.some_of(texts, self.rows)]

    def validation_texts(self) -> Sequence[LabelledText]:
        """The next ones."""
        return _part(POOL, POOL + VALIDATION)

    def test_texts(self) -> Sequence[LabelledText]:
        """The next ones."""
        return _part(POOL + VALIDATION, POOL + VALIDATION + TEST)


def _part(start: int, stop: int) -> list[LabelledText]:
    return [text for texts in _texts() for text in texts[start:stop]]


@cache
def _texts() -> list[list[LabelledText]]:
    """The sentences of the files that no base has read, package by package.

    Raises:
        DataError: A package has too few.
    """
    texts = []
    for label, package in enumerate(PACKAGES):
        found = [sentence.text for sentence in reading.sentences() if sentence.package == package and not sentence.read]
        if len(found) < (needed := POOL + VALIDATION + TEST):
            raise DataError(
                f"{package} has {len(found)} sentences for real-text, which needs {needed}: install another version."
            )
        texts.append([LabelledText(text, label, package) for text in found])
    return texts
