"""The columns of the table of all figures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

from inarch_benchmarks.analysis.findings import Row
from inarch_benchmarks.report.figures import Figures, figures
from inarch_benchmarks.report.words import NOTHING, count, ends, number, seconds, share, signed, size


@dataclass(frozen=True)
class Cell:
    """One figure of the table.

    Attributes:
        text: What is read.
        value: What is sorted by; None goes last.
        detail: Small print beside it.
        marks: Words that warn, such as ``edge``.
    """

    text: str
    value: float | str | None
    detail: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: Its head.
        group: What it is hidden with.
        meaning: What it is, in a sentence.
        cell: Makes the cell of a row.
    """

    title: str
    group: str
    meaning: str
    cell: Callable[[Row, Figures], Cell]


COLUMNS: Sequence[Column] = (
    Column("score", "score", "Mean of the main metric on test data over seeds, with its 95 % interval.",
           lambda row, _: Cell(number(row.score.mean), row.score.mean, ends(row.score)) if row.score else _none()),
    Column("gap recovered", "score", "Share of the way from the head alone to full fine-tuning.",
           lambda row, _: Cell(share(row.gap.mean), row.gap.mean, _percent_ends(row)) if row.gap else _none()),
    Column("front", "score", "Probability of being on the Pareto front of score against trained parameters.",
           lambda row, _: Cell(share(row.front), row.front) if isfinite(row.front) else _none()),
    Column("trained", "parameters", "Trained parameters when training began (the peak), the head included.",
           lambda _, found: Cell(count(found.trainable), found.trainable, _of_base(found))),
    Column("without head", "parameters", "Trained parameters when training began, the new head left out.",
           lambda _, found: Cell(count(found.method), found.method)),
    Column("effective", "parameters", "Trained parameters left when training had ended, the head included.",
           lambda _, found: Cell(count(found.effective), found.effective)),
    Column("off budget", "parameters", "Parameters without the head, against the budget of the suite.",
           lambda row, found: _deviation(row, found)),
    Column("stored", "memory", "Size of the saved adapter, the head included.",
           lambda _, found: Cell(size(found.stored), found.stored)),
    Column("memory", "memory", "Counted bytes while training: weights, gradients, optimizer, saved activations.",
           lambda _, found: _bytes(found, "total")),
    Column("weights", "memory", "Bytes of parameters and buffers.", lambda _, found: _bytes(found, "weights")),
    Column("gradients", "memory", "Bytes of gradients.", lambda _, found: _bytes(found, "gradients")),
    Column("optimizer", "memory", "Bytes of the optimizer's state.", lambda _, found: _bytes(found, "optimizer")),
    Column("activations", "memory", "Bytes that a step saves for its backward pass.",
           lambda _, found: _bytes(found, "activations")),
    Column("device peak", "memory", "The most the device had allocated in a training step.",
           lambda _, found: _bytes(found, "device_peak")),
    Column("step", "time", "Median time of a training step.",
           lambda _, found: Cell(seconds(found.step), found.step, marks=_time_marks(found))),
    Column("adapted", "time", "What a forward pass takes beyond the base's, with the adapter beside it.",
           lambda _, found: Cell(_added(found.overhead), found.overhead)),
    Column("merged", "time", "The same with the adapter merged.",
           lambda _, found: Cell("no merge" if found.no_merge else _added(found.merged_overhead),
                                 found.merged_overhead, found.no_merge)),
    Column("operations", "time", "Floating-point operations of a training step.",
           lambda _, found: Cell(_operations(found.flops), found.flops)),
    Column("forgetting", "forgetting", "Rise of the base's own loss on held-out general data, nats an item.",
           lambda _, found: _forgetting(found)),
    Column("runs", "runs", "Finished runs of those the suite asks for.",
           lambda row, _: Cell(f"{len(row.entry.finished)}/{row.entry.seeds}", len(row.entry.finished),
                               marks=(f"{row.failures} failed",) if row.failures else ())),
    Column("settings", "runs", "Whether the settings were chosen by trials here, and whether the best lay on an edge.",
           lambda row, _: Cell(_tuned(row), _tuned(row), marks=("edge",) if row.entry.edge else ())),
    Column("software", "runs", "Which software it ran on; see the provenance.",
           lambda row, _: Cell(row.stack, row.stack)),
)  # fmt: skip


def used_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns in which at least one row has something."""
    known = [(row, figures(row)) for row in rows]
    return [column for column in COLUMNS if any(column.cell(*pair).text not in (NOTHING, "") for pair in known)]


def _none() -> Cell:
    return Cell(NOTHING, None)


def _percent_ends(row: Row) -> str:
    assert row.gap is not None
    return f"[{share(row.gap.low)}, {share(row.gap.high)}]" if ends(row.gap) else ""


def _of_base(found: Figures) -> str:
    return share(found.trainable / found.base, 2) if found.trainable is not None and found.base else ""


def _deviation(row: Row, found: Figures) -> Cell:
    if not row.entry.budget or found.method is None:
        return _none()
    off = found.method / row.entry.budget - 1
    return Cell(_added(off), off, f"of {count(row.entry.budget)}")


def _bytes(found: Figures, part: str) -> Cell:
    return Cell(size(found.memory[part]), found.memory[part])


def _time_marks(found: Figures) -> tuple[str, ...]:
    marks = ("contended" if found.contended else "", "not interleaved" if found.step and not found.timed else "")
    return tuple(filter(None, marks))


def _added(value: float | None) -> str:
    return share(value, 1) if value is None or value <= 0 else f"+{share(value, 1)}"


def _operations(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 1e9:.3g} G"


def _forgetting(found: Figures) -> Cell:
    return Cell(signed(fmean(found.forgetting)), fmean(found.forgetting)) if found.forgetting else _none()


def _tuned(row: Row) -> str:
    if not row.entry.records or row.entry.contender == "zero-shot":
        return ""
    return f"{len(row.entry.trials)} trials" if row.entry.tuned else "not tuned here"
