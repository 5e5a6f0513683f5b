"""``polarity``: whether an opinion leaves its speaker glad, under negation and contrast."""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.embedded.dice import Dice
from inarch_benchmarks.embedded.story import BLAME, PRAISE, Opinion, Speaker, opinions
from inarch_benchmarks.embedded.tasks.texts import LabelledText, TextTask

POOL, VALIDATION, TEST = 2000, 300, 1000

KNOWN = 16
"""Adjectives of each mood that training texts use; those of the test use the others too."""


class PolarityTask(TextTask):
    """Glad or sad, in four slices: plain, with ``not``, with a contrast, with both.

    Half of the adjectives are in no training text, so that what they mean must come from the base.

    Attributes:
        rows: Training texts.
    """

    name: ClassVar[str] = "polarity"
    chance: ClassVar[float] = 0.5
    model: ClassVar[str] = "story-bert"
    recipe: ClassVar[Recipe] = Recipe(steps=100, batch_size=32)
    labels: ClassVar[int] = 2
    length: ClassVar[int] = 24
    rows: ClassVar[int] = 256

    def pool(self) -> Sequence[LabelledText]:
        """Opinions in the known adjectives."""
        return _opinions()[0]

    def training_texts(self, seed: int) -> Sequence[LabelledText]:
        """Some of the pool."""
        return Dice(seed).some_of(self.pool(), self.rows)

    def validation_texts(self) -> Sequence[LabelledText]:
        """Opinions in all adjectives."""
        return _opinions()[1]

    def test_texts(self) -> Sequence[LabelledText]:
        """Opinions in all adjectives."""
        return _opinions()[2]


@cache
def _opinions() -> tuple[list[LabelledText], list[LabelledText], list[LabelledText]]:
    """The pool, the validation and the test texts, no two of them alike."""
    dice = Dice(1)
    pool = opinions(Speaker(dice, PRAISE[:KNOWN], BLAME[:KNOWN]), POOL)
    rest = opinions(Speaker(dice), VALIDATION + TEST, without=pool)
    return _labelled(pool), _labelled(rest[:VALIDATION]), _labelled(rest[VALIDATION:])


def _labelled(some: Sequence[Opinion]) -> list[LabelledText]:
    return [LabelledText(opinion.text, int(opinion.glad), opinion.slice) for opinion in some]
