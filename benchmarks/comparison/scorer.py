"""The scorer: it alone has the examples of the test, and gets them when training is over."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inarch import TrainingError
from inarch_benchmarks.comparison.examples import Examples
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.record import Scored
from inarch_benchmarks.comparison.task import BenchmarkTask, Score


def examine(task: BenchmarkTask, base: Base, model: nn.Module) -> Scored:
    """The score on the test examples, of a model whose training is over.

    Raises:
        TrainingError: The model's weights changed while it was scored.
    """
    return measure(task, model, task.examination(base))


def measure(task: BenchmarkTask, model: nn.Module, examples: Examples) -> Scored:
    """The score on some examples, without gradients, in evaluation mode.

    Raises:
        TrainingError: The model's weights changed meanwhile.
    """
    before = _versions(model)
    with torch.no_grad():
        score = task.score(model.eval(), examples)
    if _versions(model) != before:
        raise TrainingError("The model's weights changed while it was scored: a method may not learn from test data.")
    return scored(score, len(examples))


def scored(score: Score, rows: int) -> Scored:
    """A score as it is recorded."""
    return Scored(
        metrics={name: float(value) for name, value in score.metrics.items()},
        rows=rows,
        items=_compact(score.items),
        slices={name: float(value) for name, value in score.slices.items()},
    )


def _compact(items: Sequence[float]) -> str | list[float]:
    if all(item in (0, 1) for item in items):
        return "".join("1" if item else "0" for item in items)
    return [round(float(item), 6) for item in items]


def _versions(model: nn.Module) -> list[tuple[int, int]]:
    """Which tensors there are and how often each was written to."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    return [(id(tensor), tensor._version) for tensor in tensors]
