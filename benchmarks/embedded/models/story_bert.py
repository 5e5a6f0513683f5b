"""``story-bert``: a small BERT pretrained on stories of a generated language."""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

from inarch_benchmarks.comparison.examples import Examples
from inarch_benchmarks.embedded.masked import MaskedTexts
from inarch_benchmarks.embedded.models.text_model import TextModel
from inarch_benchmarks.embedded.optimisation import Optimisation
from inarch_benchmarks.embedded.story import STORY_VOCABULARY, stories
from inarch_benchmarks.embedded.vocabulary import Vocabulary


class StoryBert(TextModel):
    """It has read stories in which things are praised and blamed, and has never been told which is which.

    Attributes:
        hidden: Share of the words that are hidden.
        copies: How often each story is there, with other words hidden.
        stories: To pretrain on.
        held_out_stories: To measure on.
    """

    name: ClassVar[str] = "story-bert"
    optimisation: ClassVar[Optimisation] = Optimisation(
        learning_rate=2e-3, steps=2000, batch_size=32, weight_decay=0.01
    )
    work: ClassVar[int] = optimisation.steps
    length: ClassVar[int] = 24
    hidden: ClassVar[float] = 0.3
    copies: ClassVar[int] = 4
    stories: ClassVar[int] = 20_000
    held_out_stories: ClassVar[int] = 1000

    def vocabulary(self) -> Vocabulary:
        """The words of the language."""
        return STORY_VOCABULARY

    def data_fingerprint(self) -> str:
        """The SHA-256 of stories and vocabulary, and of how words are hidden."""
        decisive = (self._told(), self.held_out_stories, self.vocabulary().words, self.length, self.hidden, self.copies)
        return hashlib.sha256(repr(decisive).encode()).hexdigest()

    def network(self) -> Any:
        """A ``RobertaForMaskedLM``."""
        from transformers import RobertaForMaskedLM

        return RobertaForMaskedLM(self.config())

    def training(self) -> Examples:
        """All stories but the last."""
        return self._masked(self._told()[: self.stories], self.copies, seed=0)

    def held_out(self) -> Examples:
        """The last stories, less those that training has too, once each."""
        told = self._told()
        seen = set(told[: self.stories])
        return self._masked([story for story in told[self.stories :] if story not in seen], 1, seed=1)

    def _told(self) -> Sequence[str]:
        return _told(self.stories + self.held_out_stories)

    def _masked(self, texts: Sequence[str], copies: int, seed: int) -> Examples:
        return MaskedTexts(texts, self.vocabulary(), length=self.length, share=self.hidden, copies=copies, seed=seed)


@cache
def _told(count: int) -> list[str]:
    return stories(count, seed=0)
