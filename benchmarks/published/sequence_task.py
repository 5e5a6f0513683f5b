"""A label or a number for a text, or for a pair of texts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from inarch_benchmarks.comparison import Examples, Score
from inarch_benchmarks.published.batches import parts
from inarch_benchmarks.published.encoded import Example, Row
from inarch_benchmarks.published.hub_task import HubTask
from inarch_benchmarks.published.metrics import METRICS
from inarch_benchmarks.published.pretrained_base import on_device_of


class SequenceTask(HubTask):
    """One output a class, by a sequence-classification head; the rows have their class under ``label``.

    Attributes:
        texts: Columns of the text, or of the two texts.
        classes: How many there are.
    """

    architecture = "AutoModelForSequenceClassification"
    metric: ClassVar[str] = "accuracy"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    texts: ClassVar[tuple[str, ...]]
    classes: ClassVar[int]

    def columns(self) -> tuple[str, ...]:
        """The texts and the label."""
        return (*self.texts, "label")

    def head_settings(self) -> dict[str, Any]:
        """As many outputs as there are classes."""
        # Without the second a model for regression or several labels a row keeps its own loss.
        return {"num_labels": self.classes, "problem_type": "single_label_classification"}

    def encode(self, rows: Sequence[Row], tokenizer: Any, limit: int) -> list[Example]:
        """Tokens of each row, and its class under ``labels``."""
        columns = [[row[name] for row in rows] for name in self.texts]
        encoded = tokenizer(*columns, truncation=True, max_length=limit)
        return [
            {**{key: values[number] for key, values in encoded.items()}, "labels": row["label"]}
            for number, row in enumerate(rows)
        ]

    def collate(self, examples: Sequence[Example], tokenizer: Any) -> dict[str, Any]:
        """Pads to the longest row."""
        from transformers import DataCollatorWithPadding

        return dict(DataCollatorWithPadding(tokenizer)([dict(example) for example in examples]))

    def score(self, model: nn.Module, examples: Examples) -> Score:
        """Every metric of the task, and for accuracy each row's part in it."""
        logits, labels = _outputs(model, examples, self.evaluation_batch)
        guesses = self.guesses(logits)
        right = [float(item) for item in (guesses == labels)] if self.metric == "accuracy" else []
        return Score(
            {name: METRICS[name](guesses, labels) for name in self.metrics}, right, self.slices(examples, right)
        )

    def guesses(self, logits: Tensor) -> Tensor:
        """The class of each row, shape (rows,), for logits of shape (rows, classes)."""
        return logits.argmax(-1)

    def slices(self, examples: Examples, right: Sequence[float]) -> Mapping[str, float]:
        """The main metric on parts of the rows; none."""
        return {}


def _outputs(model: nn.Module, examples: Examples, size: int) -> tuple[Tensor, Tensor]:
    """Logits, shape (rows, outputs), and labels, shape (rows,), in double precision on the CPU."""
    logits, labels = [], []
    for rows in parts(len(examples), size):
        batch = on_device_of(model, examples.batch(rows))
        labels.append(batch.pop("labels"))
        logits.append(model(**batch).logits)
    return torch.cat(logits).double().cpu(), torch.cat(labels).double().cpu()
