"""Classification of texts, on any base with a tokenizer."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import nn

from inarch import ModelError
from inarch_benchmarks.comparison.examples import Examples, TensorExamples
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.quiet import quiet_transformers
from inarch_benchmarks.comparison.task import BenchmarkTask, Lessons, Score
from inarch_benchmarks.embedded.tasks.classified import classification_score
from inarch_benchmarks.embedded.tasks.loading import loaded


@dataclass(frozen=True)
class LabelledText:
    """A text with its label.

    Attributes:
        text: The text.
        label: Its class, from 0 on.
        slice: The part of the data that it counts to.
    """

    text: str
    label: int
    slice: str


class SlicedTexts(TensorExamples):
    """Encoded texts that know their slices.

    Attributes:
        slices: The slice of each text.
    """

    def __init__(self, slices: Sequence[str], **tensors: torch.Tensor) -> None:
        super().__init__(**tensors)
        self.slices = slices


class TextTask(BenchmarkTask):
    """One of several labels for a text.

    Attributes:
        labels: Number of classes.
        length: Tokens of a text at most.
    """

    metric: ClassVar[str] = "accuracy"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    labels: ClassVar[int]
    length: ClassVar[int]

    @abstractmethod
    def training_texts(self, seed: int) -> Sequence[LabelledText]:
        """What is learned from, drawn from the pool by ``seed``."""

    @abstractmethod
    def pool(self) -> Sequence[LabelledText]:
        """What training texts are drawn from."""

    @abstractmethod
    def validation_texts(self) -> Sequence[LabelledText]:
        """For choosing settings."""

    @abstractmethod
    def test_texts(self) -> Sequence[LabelledText]:
        """For the figures."""

    def fingerprint(self) -> str:
        """The SHA-256 of every text and label, and of which are drawn at seed 0."""
        everything = (self.pool(), self.validation_texts(), self.test_texts(), self.training_texts(0))
        return hashlib.sha256(repr(everything).encode()).hexdigest()

    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        """The base with a new head for the labels."""
        from transformers import AutoModelForSequenceClassification

        return loaded(
            AutoModelForSequenceClassification, base, seed, pretrained=pretrained, new_head=True, num_labels=self.labels
        )

    def lessons(self, base: Base, seed: int) -> Lessons:
        """Training and validation texts."""
        return Lessons(self._encoded(base, self.training_texts(seed)), self._encoded(base, self.validation_texts()))

    def examination(self, base: Base) -> Examples:
        """Test texts."""
        return self._encoded(base, self.test_texts())

    def score(self, model: nn.Module, examples: Examples) -> Score:
        """Accuracy, over all texts and slice by slice."""
        assert isinstance(examples, SlicedTexts)
        return classification_score(model, examples, examples.slices)

    def _encoded(self, base: Base, texts: Sequence[LabelledText]) -> SlicedTexts:
        encoded = _tokenizer(base.place)(
            [text.text for text in texts], max_length=self.length, padding=True, truncation=True, return_tensors="pt"
        )
        return SlicedTexts(
            [text.slice for text in texts],
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            labels=torch.tensor([text.label for text in texts]),
        )


@lru_cache(maxsize=4)
def _tokenizer(place: str) -> Any:
    """The tokenizer of a base, loaded once a process.

    Raises:
        ModelError: It has none.
    """
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{place} has no tokenizer, which a task of texts needs: {error}") from error
    if tokenizer.pad_token is None:
        raise ModelError(f"{place} has no tokenizer that pads, which a task of texts needs.")
    return tokenizer
