"""Contenders: entries with their scores, as every part of the findings needs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.panel import Panel
from inarch_benchmarks.analysis.scores import Scores, scores
from inarch_benchmarks.analysis.stacks import Stack, stack
from inarch_benchmarks.comparison.record import RunRecord

FULL = "full"
HEAD = "head"

Place = tuple[str, str]
"""A task and the model that it is done on."""


@dataclass(frozen=True, eq=False)
class Contender:
    """An entry with its scores.

    Attributes:
        entry: The entry.
        runs: Its runs that finished.
        scores: Its scores.
        panel: The scores of everybody on the same task and model.
        stacks: Which software its runs were made with, as letters.
    """

    entry: Entry
    runs: tuple[RunRecord, ...]
    scores: Scores
    panel: Panel
    stacks: frozenset[str] = frozenset()


def contenders(entries: Sequence[Entry], letters: Mapping[Stack, str]) -> dict[Place, list[Contender]]:
    """One for each entry, together with those that it met: on the same task and model."""
    places: dict[Place, list[Entry]] = {}
    for entry in entries:
        places.setdefault((entry.task, entry.model), []).append(entry)
    return {place: _field(some, letters) for place, some in places.items()}


def labelled(field: Sequence[Contender], label: str) -> Contender | None:
    """The one with a label, if it has any score."""
    return next((one for one in field if one.entry.contender == label and one.scores.seeds), None)


def reference(field: Sequence[Contender], method: str) -> Contender | None:
    """The reference row of a method, such as full fine-tuning, if it has any score."""
    found = (one for one in field if one.entry.kind == "reference" and one.entry.method == method)
    return next((one for one in found if one.scores.seeds), None)


def _field(entries: Sequence[Entry], letters: Mapping[Stack, str]) -> list[Contender]:
    runs = [entry.finished for entry in entries]
    found = [scores(some, entry.metric) for entry, some in zip(entries, runs, strict=True)]
    panel = Panel([each for each in found if each.seeds])
    return [
        Contender(entry, some, each, panel, frozenset(letters[stack(run)] for run in some))
        for entry, some, each in zip(entries, runs, found, strict=True)
    ]
