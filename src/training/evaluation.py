"""Measuring the adapter of a finished run again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..api import load
from .arguments import training_arguments
from .folder import RunFolder
from .measure import Metrics, differences, measure
from .preparation import find_task, fingerprints, load_model, max_length
from .pretrained import load_tokenizer
from .quiet import quiet_transformers
from .splits import read_splits
from .table import Table, read_table


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a run's adapter, measured anew.

    Attributes:
        metrics: By split; under the file's name where a file was given.
        differences: By split, the metrics that are not exactly those recorded, with both values; only the splits
            whose data are still those of the run.
        changed: The splits whose data have changed since the run.
    """

    metrics: dict[str, Metrics]
    differences: dict[str, dict[str, tuple[Any, Any]]]
    changed: tuple[str, ...] = ()

    @property
    def reproduced(self) -> bool | None:
        """Whether every recorded metric came out exactly the same; None where there was nothing to compare."""
        return not any(self.differences.values()) if self.differences else None


def evaluate(path: Path, data: Path | None = None) -> Evaluation:
    """Load the base model and the adapter of a run, and measure them.

    Args:
        path: The run folder.
        data: A file with the run's columns; the run's own validation and test rows where none is given.

    Raises:
        InarchError: No finished run, a base or data that cannot be loaded, labels that training has not seen.
    """
    folder = RunFolder(path)
    config = folder.config()
    recorded = folder.read("metrics.json")
    own = data is None
    tables = read_splits(config.data, config.seed).measured() if data is None else {str(data): read_table(data)}
    with quiet_transformers():
        metrics = _measured(folder, tables)
    if not own:
        return Evaluation(metrics, {})
    was, now = folder.read("run.json")["data"], fingerprints(config, tables)
    changed = tuple(name for name in tables if was.get(name) != now[name])
    same = [name for name in tables if name not in changed]
    return Evaluation(metrics, {name: differences(recorded[name], metrics[name]) for name in same}, changed)


def _measured(folder: RunFolder, tables: Mapping[str, Table]) -> dict[str, Metrics]:
    from .trainer import AdapterTrainer

    config = folder.config()
    task_type = find_task(config.task)
    task = task_type(config.data, folder.read("run.json")["facts"])
    for table in tables.values():
        task.check(table)
    tokenizer = load_tokenizer(config.model)
    pretrained = load_model(task, config, tokenizer)
    adapter = load(pretrained.model, folder.adapter)
    limit = max_length(config, pretrained, tokenizer)
    trainer = AdapterTrainer(
        adapter=adapter,
        model=pretrained.model,
        args=training_arguments(config, task_type),
        eval_dataset=[],
        data_collator=task.collator(tokenizer),
    )
    return {name: measure(trainer, task, task.encode(table, tokenizer, limit)) for name, table in tables.items()}
