"""The contract of a task that methods are compared on: its data, its model, its score.

A run is given the lessons alone. The examples of the test are asked for by the scorer, after training has ended.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import nn

from inarch_benchmarks.comparison.examples import Examples
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.recipe import Recipe


@dataclass(frozen=True)
class Lessons:
    """What a run may learn from. No example of the test is among them.

    Attributes:
        training: For the optimizer.
        validation: For choosing settings.
    """

    training: Examples
    validation: Examples


@dataclass(frozen=True)
class Score:
    """How well a model did on some examples.

    Attributes:
        metrics: By name; more of each is better.
        items: What each example added to the task's main metric, whose mean over the items it is: 0 or 1 for
            accuracy; empty for a metric that is no mean over items.
        slices: The main metric on parts of the examples, by the part's name.
    """

    metrics: Mapping[str, float]
    items: Sequence[float] = ()
    slices: Mapping[str, float] = field(default_factory=dict)


class BenchmarkTask(ABC):
    """One task. Its examples are the same for every method at one seed, and so is the head.

    Attributes:
        name: What suites call it.
        metric: The main metric, by which methods are compared.
        metrics: Every metric; more of each is better.
        chance: What the main metric is on average for guesses.
        model: The base that it is done on where a suite names none.
        recipe: How it is trained where a suite says nothing.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    chance: ClassVar[float]
    model: ClassVar[str]
    recipe: ClassVar[Recipe]

    @abstractmethod
    def fingerprint(self) -> str:
        """The SHA-256 of its data, and of whatever else decides what is asked."""

    @abstractmethod
    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        """The base with a head for this task, in evaluation mode.

        Args:
            base: What to load.
            seed: Draws the head, and every weight where ``pretrained`` is false; global random state is left alone.
            pretrained: Whether the backbone has its pretrained weights.

        Raises:
            ModelError: This task cannot be done on such a model.
        """

    def fresh(self, model: nn.Module) -> tuple[str, ...]:
        """Names of parameters that every method trains besides its own and a new head, and that count as the head's.

        Such as BERT's pooler, which no checkpoint of a language model holds, or the output map of a language model
        that is to learn another language.
        """
        return ()

    @abstractmethod
    def lessons(self, base: Base, seed: int) -> Lessons:
        """The examples of training and validation.

        Args:
            base: Whose tokenizer is used, where there is one.
            seed: Draws the training examples, where they are drawn; the validation examples are always the same.
        """

    @abstractmethod
    def examination(self, base: Base) -> Examples:
        """The examples of the test, always the same. Only the scorer calls this."""

    @abstractmethod
    def score(self, model: nn.Module, examples: Examples) -> Score:
        """Measure a model in evaluation mode; called without gradients."""
