"""The figures of a row: what its records and its timing say, one number each."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from inarch_benchmarks.analysis.findings import Row
from inarch_benchmarks.comparison.record import RunRecord


@dataclass(frozen=True)
class Figures:
    """One number a figure, the median over finished runs; None where nothing was measured.

    Attributes:
        base: Parameters of the base.
        trainable: Trained ones when training began, the head included: the peak of a method that gives ranks back.
        method: Those without the head.
        head: Those of the head.
        effective: Trained ones left in the end, the head included.
        stored: Bytes of the saved adapter.
        memory: Bytes by part, with their ``total`` and the ``device_peak``.
        step: Seconds of a training step.
        timed: Whether that is from the timing pass, where contenders take turns.
        overhead: What an adapted forward pass takes beyond the base's, as a share of it.
        merged_overhead: The same once merged; None where there is no merge.
        no_merge: Why there is none.
        flops: Of a training step.
        forgetting: Rise of the base's own loss, a run each.
        contended: Whether something else ran on the machine meanwhile.
    """

    base: float | None
    trainable: float | None
    method: float | None
    head: float | None
    effective: float | None
    stored: float | None
    memory: dict[str, float | None]
    step: float | None
    timed: bool
    overhead: float | None
    merged_overhead: float | None
    no_merge: str
    flops: float | None
    forgetting: tuple[float, ...]
    contended: bool


def figures(row: Row) -> Figures:
    """The figures of a row."""
    runs, timing = row.entry.finished, row.entry.timing

    def typical(of: Callable[[RunRecord], float | None]) -> float | None:
        return _typical([of(run) for run in runs])

    measured = [run for run in runs if run.parameters]
    step = (timing.get("step") or {}).get("median")
    return Figures(
        base=_typical([run.parameters.base for run in measured if run.parameters]),
        trainable=_typical([run.parameters.trainable for run in measured if run.parameters]),
        method=_typical([run.parameters.method for run in measured if run.parameters]),
        head=_typical([run.parameters.head for run in measured if run.parameters]),
        effective=_typical([run.parameters.effective for run in measured if run.parameters]),
        stored=typical(lambda run: run.stored_bytes),
        memory={part: _typical([_part(run.memory, part) for run in runs]) for part in PARTS},
        step=step if step is not None else typical(lambda run: run.seconds.step if run.seconds else None),
        timed=step is not None,
        overhead=timing.get("overhead"),
        merged_overhead=timing.get("merged_overhead"),
        no_merge=timing.get("no_merge") or "",
        flops=timing.get("flops_step"),
        forgetting=tuple(run.forgetting.after - run.forgetting.before for run in runs if run.forgetting),
        contended=row.entry.contended,
    )


PARTS = ("weights", "gradients", "optimizer", "activations", "total", "device_peak")


def _part(section: Any, name: str) -> float | None:
    return None if section is None else getattr(section, name)


def _typical(values: list[float | None] | list[int]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None
