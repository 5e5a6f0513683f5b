"""Metrics of a split, computed the same way at the end of a run and by ``inarch eval``."""

from collections.abc import Mapping, Sequence
from typing import Any

from .task import Example, Task
from .trainer import AdapterTrainer

Metrics = dict[str, Any]


def measure(trainer: AdapterTrainer, task: Task, examples: Sequence[Example]) -> Metrics:
    """The loss and every metric of the task over some examples, as JSON types."""
    output = trainer.predict(examples)
    return {
        "rows": len(examples),
        "loss": output.metrics["test_loss"],
        **task.metrics(logits(output.predictions), output.label_ids),
    }


def logits(predictions: Any) -> Any:
    """The first output of the model; some give hidden states and the like after it."""
    return predictions[0] if isinstance(predictions, tuple) else predictions


def differences(recorded: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The metrics that are not exactly the same, with both values."""
    names = sorted({*recorded, *measured})
    return {
        name: (recorded.get(name), measured.get(name)) for name in names if recorded.get(name) != measured.get(name)
    }
