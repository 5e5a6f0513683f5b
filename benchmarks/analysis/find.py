"""From the entries of a suite to its findings."""

from collections.abc import Mapping, Sequence

from inarch_benchmarks.analysis.contenders import (
    FULL,
    HEAD,
    Contender,
    Place,
    contenders,
    labelled,
    reference,
)
from inarch_benchmarks.analysis.differences import family
from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.findings import Difference, Findings, Interval, Row
from inarch_benchmarks.analysis.gap import shares
from inarch_benchmarks.analysis.intervals import intervals
from inarch_benchmarks.analysis.pareto import probabilities
from inarch_benchmarks.analysis.remarks import remarks
from inarch_benchmarks.analysis.stacks import described, letters, mark
from inarch_benchmarks.analysis.summaries import summaries


def find(suite_name: str, entries: Sequence[Entry], baseline: str) -> Findings:
    """What a suite's runs say.

    Args:
        suite_name: Its name.
        entries: One for each contender on each task and model.
        baseline: Label of the contender that every method is compared with, besides full fine-tuning.
    """
    stacks = letters(record for entry in entries for record in entry.records if record.status == "finished")
    places = contenders(entries, stacks)
    found = _rows(places)
    rows = tuple(found[id(contender)] for some in places.values() for contender in some)
    return Findings(
        suite=suite_name,
        rows=rows,
        differences=(*_from_baseline(places, baseline), *_from_full(places, baseline)),
        summaries=tuple(summaries(rows)),
        stacks=described(stacks),
        remarks=tuple(remarks(places, rows, described(stacks), baseline)),
    )


def _rows(places: Mapping[Place, Sequence[Contender]]) -> dict[int, Row]:
    """The rows by the identity of their contender."""
    scored = [contender for some in places.values() for contender in some if contender.scores.seeds]
    means = intervals([contender.scores for contender in scored], [contender.panel for contender in scored])
    score = dict(zip(map(id, scored), means, strict=True))
    rows = {}
    for field in places.values():
        gaps, fronts = _gaps(field), _fronts(field)
        for contender in field:
            key = id(contender)
            rows[key] = Row(
                entry=contender.entry,
                score=score.get(key),
                gap=gaps.get(key),
                front=fronts.get(key, 0.0),
                failures=sum(record.status != "finished" for record in contender.entry.records),
                stack=mark(contender.stacks),
            )
    return rows


def _gaps(field: Sequence[Contender]) -> dict[int, Interval | None]:
    head, full = reference(field, HEAD), reference(field, FULL)
    if head is None or full is None:
        return {}
    scored = [one for one in field if one.scores.seeds]
    found = shares(head.panel, [one.scores for one in scored], head.scores, full.scores)
    return dict(zip(map(id, scored), found, strict=True))


def _fronts(field: Sequence[Contender]) -> dict[int, float]:
    costs = {
        id(one): float(one.runs[0].parameters.method)
        for one in field
        if one.entry.kind != "control" and one.scores.seeds and one.runs[0].parameters is not None
    }
    competing = [one for one in field if id(one) in costs]
    panel = field[0].panel
    found = probabilities([one.scores for one in competing], [costs[id(one)] for one in competing], panel)
    return dict(zip(map(id, competing), found, strict=True))


def _from_baseline(places: Mapping[Place, Sequence[Contender]], baseline: str) -> list[Difference]:
    return _from([(field, labelled(field, baseline)) for field in places.values()])


def _from_full(places: Mapping[Place, Sequence[Contender]], baseline: str) -> list[Difference]:
    full = [(field, reference(field, FULL)) for field in places.values()]
    return _from([(field, one) for field, one in full if one is not None and one.entry.contender != baseline])


def _from(others: Sequence[tuple[Sequence[Contender], Contender | None]]) -> list[Difference]:
    return family(
        [
            (one, other)
            for field, other in others
            if other is not None
            for one in field
            if one.entry.kind == "method" and one is not other and one.scores.seeds
        ]
    )
