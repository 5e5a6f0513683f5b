"""``digits``: the handwritten digits inside scikit-learn, from ten labels of each."""

import hashlib
from functools import cache
from typing import ClassVar

import torch
from torch import nn

from inarch_benchmarks.comparison.examples import Examples, TensorExamples
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.task import BenchmarkTask, Lessons, Score
from inarch_benchmarks.embedded.digits import CLASSES, Digits, Part, digits
from inarch_benchmarks.embedded.network import pixel_values
from inarch_benchmarks.embedded.tasks.classified import classification_score
from inarch_benchmarks.embedded.tasks.loading import loaded


class DigitsTask(BenchmarkTask):
    """Which digit a scan of 8 x 8 pixels shows."""

    name: ClassVar[str] = "digits"
    metric: ClassVar[str] = "accuracy"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    chance: ClassVar[float] = 1 / CLASSES
    model: ClassVar[str] = "glyph-vit"
    recipe: ClassVar[Recipe] = Recipe(steps=100, batch_size=25)

    def fingerprint(self) -> str:
        """The SHA-256 of the digits in their split."""
        split = _split(0)
        digest = hashlib.sha256()
        for part in (split.training, split.validation, split.test):
            digest.update(part.images.tobytes())
            digest.update(part.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        """The vision transformer with a new head for ten classes."""
        from transformers import AutoModelForImageClassification

        return loaded(
            AutoModelForImageClassification, base, seed, pretrained=pretrained, new_head=True, num_labels=CLASSES
        )

    def lessons(self, base: Base, seed: int) -> Lessons:
        """Ten digits of each class, drawn from the pool by ``seed``."""
        split = _split(seed)
        return Lessons(_examples(split.training), _examples(split.validation))

    def examination(self, base: Base) -> Examples:
        """The digits of the test."""
        return _examples(_split(0).test)

    def score(self, model: nn.Module, examples: Examples) -> Score:
        """Accuracy; its slices are the digits."""
        assert isinstance(examples, TensorExamples)
        labels = examples.tensors["labels"]
        return classification_score(model, examples, [str(int(label)) for label in labels])


@cache
def _split(seed: int) -> Digits:
    return digits(seed)


def _examples(part: Part) -> TensorExamples:
    return TensorExamples(pixel_values=pixel_values(part.images), labels=torch.from_numpy(part.labels))
