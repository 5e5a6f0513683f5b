"""The score of a classification."""

from collections.abc import Sequence

import torch
from torch import nn

from inarch_benchmarks.comparison.examples import Examples
from inarch_benchmarks.comparison.task import Score

BATCH_SIZE = 250


def classification_score(model: nn.Module, examples: Examples, slices: Sequence[str]) -> Score:
    """Accuracy over all examples and over slices.

    Args:
        model: Gives ``logits`` of shape (batch, classes).
        examples: With ``labels`` among their arguments.
        slices: The slice of each example.
    """
    right = torch.cat([_right(model, batch) for batch in examples.batches(BATCH_SIZE)]).float()
    members: dict[str, list[int]] = {}
    for row, name in enumerate(slices):
        members.setdefault(name, []).append(row)
    return Score(
        {"accuracy": float(right.mean())},
        right.tolist(),
        {name: float(right[rows].mean()) for name, rows in sorted(members.items())},
    )


def _right(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    arguments = {name: value for name, value in batch.items() if name != "labels"}
    return torch.as_tensor(model(**arguments).logits.argmax(-1) == batch["labels"])
