"""Where the figures come from: software, hardware, code, data, models, settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inarch_benchmarks.analysis.findings import Findings
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.words import plain, settings


@dataclass(frozen=True)
class Failure:
    """Runs of one contender that did not finish for one reason."""

    contender: str
    place: str
    status: str
    seeds: str
    reason: str


@dataclass(frozen=True)
class Ran:
    """With which settings a contender ran.

    Attributes:
        contender: Its label.
        place: Label of the place.
        settings: Of the method.
        rate: The highest learning rate.
        length: Steps and batch size.
        seeds: That have a record.
    """

    contender: str
    place: str
    settings: str
    rate: str
    length: str
    seeds: str


@dataclass(frozen=True)
class Origin:
    """What a place was run on: fingerprints, the first 16 digits of each."""

    place: str
    data: str
    model: str
    weights: str


def failures(places: Sequence[Place]) -> list[Failure]:
    """Everything that did not finish, with its reason."""
    found: dict[tuple[str, str, str, str], list[int]] = {}
    for place in places:
        for row in place.rows:
            for record in row.entry.records:
                if record.status != "finished":
                    key = row.entry.contender, place.label, record.status, record.reason
                    found.setdefault(key, []).append(record.specification.seed)
    return [
        Failure(contender, place, status, ", ".join(map(str, sorted(seeds))), reason or "no reason was given")
        for (contender, place, status, reason), seeds in found.items()
    ]


def origins(places: Sequence[Place]) -> list[Origin]:
    """The data and the weights of every place."""
    return [
        Origin(
            place.label,
            _all(_records([place]), lambda record: record.specification.data[:16]),
            place.model,
            _all(_records([place]), lambda record: record.specification.weights[:16]),
        )
        for place in places
    ]


def ran(places: Sequence[Place]) -> list[Ran]:
    """The settings of every contender on every place."""
    return [
        Ran(
            row.entry.contender,
            place.label,
            _all(row.entry.records, lambda record: settings(record.specification.settings.items())) or "none",
            _all(row.entry.records, lambda record: plain(record.specification.learning_rate)),
            _all(
                row.entry.records,
                lambda record: f"{record.specification.recipe.steps} x {record.specification.recipe.batch_size}",
            ),
            _all(row.entry.records, lambda record: str(record.specification.seed)),
        )
        for place in places
        for row in place.rows
        if row.entry.records
    ]


def machines(places: Sequence[Place]) -> list[str]:
    """Every hardware that a run was on."""
    told = (", ".join(f"{name} {plain(value)}" for name, value in r.hardware.items()) for r in _records(places))
    return list(dict.fromkeys(filter(None, told)))


def revisions(places: Sequence[Place]) -> list[str]:
    """Every revision of the code that a run was of."""
    return sorted({record.revision for record in _records(places) if record.revision})


def dates(places: Sequence[Place]) -> tuple[str, str] | None:
    """When the first and the last run ended."""
    told = sorted(record.date for record in _records(places) if record.date)
    return (told[0], told[-1]) if told else None


def software(findings: Findings) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The letters of the stacks, and every distribution with its version in each."""
    letters = sorted(findings.stacks)
    names = sorted({name for stack in findings.stacks.values() for name in stack})
    return letters, [(name, [findings.stacks[letter].get(name) or "none" for letter in letters]) for name in names]


def _records(places: Sequence[Place]) -> list[RunRecord]:
    return [record for place in places for row in place.rows for record in row.entry.records]


def _all(records: Sequence[RunRecord], of: Callable[[RunRecord], str]) -> str:
    return " | ".join(dict.fromkeys(of(record) for record in records))
