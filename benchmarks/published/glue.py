"""GLUE (Wang et al. 2018, arXiv:1804.07461): eight of its tasks, as papers on fine-tuning report them.

The labels of GLUE's test splits are kept secret, so the papers report the validation splits, and those are the test
here. What settings are chosen by is a part of the training split that no run trains on; see ``held_out``. A paper that
chose its settings, or the best epoch, by the validation split has an advantage over what is measured here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from inarch_benchmarks.comparison import Base, Examples, Recipe
from inarch_benchmarks.published.encoded import EncodedExamples
from inarch_benchmarks.published.hub import Split
from inarch_benchmarks.published.sequence_task import SequenceTask

DATASET = "nyu-mll/glue"


def _recipe(epochs: int, batch_size: int) -> Recipe:
    """As the LoRA paper trains RoBERTa-base (arXiv:2106.09685, table 9; weight decay from the authors' scripts)."""
    return Recipe(epochs=epochs, batch_size=batch_size, warmup=0.06, weight_decay=0.1)


def _splits(subset: str, *tests: str) -> tuple[Split, tuple[Split, ...]]:
    """The training split of a task, and the splits that are its test."""
    return Split(DATASET, subset, "train"), tuple(Split(DATASET, subset, name) for name in tests or ("validation",))


class GlueTask(SequenceTask):
    """One task of GLUE."""

    classes = 2
    chance = 0.5
    model = "FacebookAI/roberta-base"
    longest = 512


class SST2(GlueTask):
    """Whether a sentence of a film review is positive."""

    name = "glue/sst2"
    training, tests = _splits("sst2")
    texts = ("sentence",)
    recipe = _recipe(epochs=60, batch_size=16)


class CoLA(GlueTask):
    """Whether a sentence is acceptable English; by Matthews' correlation."""

    name = "glue/cola"
    training, tests = _splits("cola")
    metric = "matthews"
    metrics = ("matthews", "accuracy")
    chance = 0.0
    texts = ("sentence",)
    recipe = _recipe(epochs=80, batch_size=32)


class MRPC(GlueTask):
    """Whether two sentences of the news say the same."""

    name = "glue/mrpc"
    training, tests = _splits("mrpc")
    metrics = ("accuracy", "f1")
    texts = ("sentence1", "sentence2")
    recipe = _recipe(epochs=30, batch_size=16)


class QQP(GlueTask):
    """Whether two questions of Quora ask the same."""

    name = "glue/qqp"
    training, tests = _splits("qqp")
    metrics = ("accuracy", "f1")
    texts = ("question1", "question2")
    recipe = _recipe(epochs=25, batch_size=16)


class QNLI(GlueTask):
    """Whether a sentence holds the answer to a question."""

    name = "glue/qnli"
    training, tests = _splits("qnli")
    texts = ("question", "sentence")
    recipe = _recipe(epochs=25, batch_size=32)


class RTE(GlueTask):
    """Whether one sentence follows from another."""

    name = "glue/rte"
    training, tests = _splits("rte")
    texts = ("sentence1", "sentence2")
    recipe = _recipe(epochs=80, batch_size=32)


class MNLI(GlueTask):
    """Whether a sentence follows from another, contradicts it, or neither; over genres seen in training and others.

    Accuracy is over both, as in the LoRA paper; the slices ``matched`` and ``mismatched`` are the seen and the unseen
    genres.
    """

    name = "glue/mnli"
    training, tests = _splits("mnli", "validation_matched", "validation_mismatched")
    classes = 3
    chance = 1 / 3
    texts = ("premise", "hypothesis")
    recipe = _recipe(epochs=30, batch_size=16)

    def examination(self, base: Base) -> Examples:
        """Both validation splits; each row knows its own."""
        return self.examples(base, [{**row, "split": split.name} for split in self.tests for row in self._rows(split)])

    def slices(self, examples: Examples, right: Sequence[float]) -> Mapping[str, float]:
        """Accuracy on the seen and on the unseen genres, for rows of the test."""
        assert isinstance(examples, EncodedExamples)
        by_split: dict[str, list[float]] = {}
        for row, item in zip(examples.rows, right, strict=True):
            if "split" in row:
                by_split.setdefault(row["split"].removeprefix("validation_"), []).append(item)
        return {name: sum(items) / len(items) for name, items in by_split.items()}


class STSB(GlueTask):
    """How similar two sentences are, from 0 to 5; by Pearson's correlation, with Spearman's beside it."""

    name = "glue/stsb"
    training, tests = _splits("stsb")
    metric = "pearson"
    metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearman")
    chance = 0.0
    classes = 1
    texts = ("sentence1", "sentence2")
    recipe = _recipe(epochs=40, batch_size=16)

    def head_settings(self) -> dict[str, Any]:
        """One output, trained on the squared error."""
        return {"num_labels": 1, "problem_type": "regression"}

    def guesses(self, logits: Tensor) -> Tensor:
        """The output itself."""
        return logits.squeeze(-1)


TASKS: tuple[type[GlueTask], ...] = (SST2, CoLA, MRPC, QQP, QNLI, RTE, MNLI, STSB)
