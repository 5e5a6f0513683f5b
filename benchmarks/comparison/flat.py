"""A record as one flat row: what is worth a column, without items and curves."""

import json
from math import isfinite
from typing import Any

from inarch_benchmarks.comparison.record import RunRecord, Scored

TEXT, COUNT, NUMBER, FLAG = "string", "int64", "double", "bool"

COLUMNS = {
    "id": TEXT, "task": TEXT, "model": TEXT, "method": TEXT, "settings": TEXT, "learning_rate": NUMBER,
    "steps": COUNT, "batch_size": COUNT, "seed": COUNT, "purpose": TEXT, "pretrained": FLAG, "status": TEXT,
    "reason": TEXT, "parameters_base": COUNT, "parameters_trainable": COUNT, "parameters_head": COUNT,
    "parameters_effective": COUNT, "stored_bytes": COUNT, "memory_weights": COUNT, "memory_gradients": COUNT,
    "memory_optimizer": COUNT, "memory_activations": COUNT, "memory_total": COUNT, "memory_device_peak": COUNT,
    "forgetting_before": NUMBER, "forgetting_after": NUMBER, "last_loss": NUMBER, "seconds_training": NUMBER,
    "seconds_step": NUMBER, "seconds_total": NUMBER, "seconds_harness": NUMBER, "contended": FLAG,
    "data": TEXT, "weights": TEXT, "revision": TEXT, "date": TEXT, "software": TEXT, "hardware": TEXT,
}  # fmt: skip
"""Columns of every table and their Arrow types; each metric adds ``test_<metric>`` and ``validation_<metric>``."""

SPECIFIED = ("task", "data", "model", "weights", "pretrained", "method", "learning_rate", "seed", "purpose")


def flat(record: RunRecord) -> dict[str, Any]:
    """The row of a record; what was not measured, or is no number, is left out."""
    specification = record.specification
    row: dict[str, Any] = {
        "id": record.id,
        **{name: getattr(specification, name) for name in SPECIFIED},
        "settings": json.dumps(specification.settings),
        "steps": specification.recipe.steps,
        "batch_size": specification.recipe.batch_size,
        "status": record.status,
        "reason": record.reason,
        "stored_bytes": record.stored_bytes,
        "last_loss": record.curve.loss[-1] if record.curve.loss else None,
        "contended": record.contended,
        "revision": record.revision,
        "date": record.date,
        "software": json.dumps(record.software),
        "hardware": json.dumps(record.hardware),
    }
    for name in ("parameters", "memory", "forgetting", "seconds"):
        section = getattr(record, name)
        if section is not None:
            row.update((f"{name}_{part}", value) for part, value in vars(section).items())
    if record.memory is not None:
        row["memory_total"] = record.memory.total
    row |= _metrics("test", record.test) | _metrics("validation", record.validation)
    return {name: value for name, value in row.items() if not isinstance(value, float) or isfinite(value)}


def _metrics(split: str, scored: Scored | None) -> dict[str, float]:
    return {f"{split}_{metric}": value for metric, value in scored.metrics.items()} if scored else {}
