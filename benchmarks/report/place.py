"""A place: one task on one model, where contenders can be compared."""

from dataclasses import dataclass
from math import inf

from inarch_benchmarks.analysis.findings import Difference, Findings, Row


@dataclass(frozen=True)
class Place:
    """One task on one model, and what was found there.

    Attributes:
        task: Name of the task.
        model: Name of the base.
        label: The task, with the model where a suite has several for it.
        rows: The highest score first; contenders without one last.
        differences: Between its contenders.
    """

    task: str
    model: str
    label: str
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]

    @property
    def metric(self) -> str:
        """The main metric."""
        return self.rows[0].entry.metric

    @property
    def chance(self) -> float:
        """The metric for guesses."""
        return self.rows[0].entry.chance

    @property
    def methods(self) -> tuple[Row, ...]:
        """Rows of methods that have a score: neither references nor controls."""
        return tuple(row for row in self.rows if row.entry.kind == "method" and row.score is not None)


def places(findings: Findings) -> tuple[Place, ...]:
    """The places of a suite, in its order."""
    keys = dict.fromkeys((row.entry.task, row.entry.model) for row in findings.rows)
    tasks = [task for task, _ in keys]
    return tuple(
        Place(
            task,
            model,
            task if tasks.count(task) == 1 else f"{task} on {model}",
            tuple(sorted((row for row in findings.rows if _at(row) == (task, model)), key=_worst_last)),
            tuple(found for found in findings.differences if (found.task, found.model) == (task, model)),
        )
        for task, model in keys
    )


def _at(row: Row) -> tuple[str, str]:
    return row.entry.task, row.entry.model


def _worst_last(row: Row) -> float:
    return inf if row.score is None else -row.score.mean
