"""``sequence``: an operation on letters that the base has never seen, from few examples, scored by exact match."""

from functools import cache
from typing import Any, ClassVar

import torch
from torch import nn

from inarch import ModelError
from inarch_benchmarks.comparison.examples import Examples, TensorExamples
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.task import BenchmarkTask, Lessons, Score
from inarch_benchmarks.embedded.dice import Dice
from inarch_benchmarks.embedded.operations import VOCABULARY, Row, examples, right_answers, sha256, unseen_rows
from inarch_benchmarks.embedded.tasks.loading import loaded

POOL, VALIDATION, TEST = 4000, 300, 1000

BATCH_SIZE = 250


class SequenceTask(BenchmarkTask):
    """The answer to ``name letters =``, every letter of it right.

    Attributes:
        rows: Training examples.
    """

    name: ClassVar[str] = "sequence"
    metric: ClassVar[str] = "exact_match"
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "letter_accuracy")
    chance: ClassVar[float] = 0.0
    model: ClassVar[str] = "sequence-gpt"
    recipe: ClassVar[Recipe] = Recipe(steps=100, batch_size=32)
    rows: ClassVar[int] = 256

    def fingerprint(self) -> str:
        """The SHA-256 of every row, and of those that are drawn at seed 0."""
        return sha256([*_rows(), *self._drawn(0)])

    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        """The decoder with its own output map.

        Raises:
            ModelError: Its vocabulary is not that of the operations.
        """
        from transformers import AutoModelForCausalLM

        model: Any = loaded(AutoModelForCausalLM, base, seed, pretrained=pretrained)
        size = model.get_input_embeddings().num_embeddings
        if size != VOCABULARY:
            raise ModelError(f"{self.name} is about {VOCABULARY} letters and names: {base.name} has {size} tokens.")
        ready: nn.Module = model
        return ready

    def fresh(self, model: nn.Module) -> tuple[str, ...]:
        """The output map: it is the head of this task, and every method trains it as they do a classifier."""
        return tuple(name for name, _ in model.named_parameters() if name.startswith("lm_head."))

    def lessons(self, base: Base, seed: int) -> Lessons:
        """Rows from the pool, by ``seed``."""
        return Lessons(examples(self._drawn(seed)), examples(_rows()[POOL : POOL + VALIDATION]))

    def examination(self, base: Base) -> Examples:
        """The last rows."""
        return examples(_rows()[POOL + VALIDATION :])

    def score(self, model: nn.Module, examples: Examples) -> Score:
        """Exact match of greedy decoding; its slices are the numbers of letters."""
        assert isinstance(examples, TensorExamples)
        labels = examples.tensors["labels"]
        logits = torch.cat([model(input_ids=batch["input_ids"]).logits for batch in examples.batches(BATCH_SIZE)])
        right = right_answers(logits, labels).float()
        asked = labels[:, 1:] != -100
        letters = (logits[:, :-1].argmax(-1) == labels[:, 1:])[asked].float().mean()
        lengths = asked.sum(-1)
        return Score(
            {"exact_match": float(right.mean()), "letter_accuracy": float(letters)},
            right.tolist(),
            {f"{int(length)} letters": float(right[lengths == length].mean()) for length in lengths.unique()},
        )

    def _drawn(self, seed: int) -> list[Row]:
        return Dice(seed).some_of(_rows()[:POOL], self.rows)


@cache
def _rows() -> list[Row]:
    """The pool, the validation and the test rows, no two of them alike."""
    return unseen_rows(POOL + VALIDATION + TEST, seed=1)
