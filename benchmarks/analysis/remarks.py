"""Remarks: what a reader must know before believing a figure, one sentence each."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from inarch_benchmarks.analysis.contenders import FULL, HEAD, Contender, Place, labelled, reference
from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.findings import Row
from inarch_benchmarks.analysis.power import FEWEST

MOST_NAMED = 6
"""Names in one sentence; the rest are counted."""


def remarks(
    places: Mapping[Place, Sequence[Contender]],
    rows: Sequence[Row],
    stacks: Mapping[str, Mapping[str, str | None]],
    baseline: str,
) -> Iterator[str]:
    """All that there is to remark.

    Args:
        places: Who met on each task and model.
        rows: What was found of each.
        stacks: Software by letter.
        baseline: Label of the contender that the others are compared with.
    """
    field = [contender for some in places.values() for contender in some]
    entries = [contender.entry for contender in field]
    yield from _failed(entries)
    yield from _missing(entries)
    yield from _few_seeds(field)
    yield from _tuning(entries)
    yield from _data(places)
    yield from _references(places, rows, baseline)
    yield from _software(rows, stacks)
    yield from _mixed(field)
    yield from _contended(field)


def _failed(entries: Sequence[Entry]) -> Iterator[str]:
    for status, done in (("diverged", "diverged"), ("failed", "failed")):
        found = []
        for entry in entries:
            reasons = [record.reason for record in entry.records if record.status == status]
            if reasons:
                reason = Counter(reasons).most_common(1)[0][0].rstrip(".")
                found.append(f"{_name(entry)}, {len(reasons)} of {len(entry.records)} ({reason or 'no reason given'})")
        if found:
            yield f"Runs that {done} are in no mean, which flatters: {_listed(found, '; ')}."


def _missing(entries: Sequence[Entry]) -> Iterator[str]:
    found = [f"{_name(entry)}, {len(entry.records)} of {entry.seeds}" for entry in entries if _short(entry)]
    if found:
        yield f"Runs are missing: {_listed(found, '; ')}."


def _short(entry: Entry) -> bool:
    return len(entry.records) < entry.seeds


def _few_seeds(field: Sequence[Contender]) -> Iterator[str]:
    single = [_name(one.entry) for one in field if len(one.scores.seeds) == 1]
    if single:
        yield f"One seed shows no spread, so there is no interval, and nothing is compared: {_listed(single)}."
    few = [_name(one.entry) for one in field if 1 < len(one.scores.seeds) < FEWEST]
    if few:
        yield f"Below {FEWEST} seeds nothing is said to differ: {_listed(few)}."


def _tuning(entries: Sequence[Entry]) -> Iterator[str]:
    untuned = [_name(entry) for entry in entries if entry.kind == "method" and not entry.tuned]
    if untuned:
        yield f"Not tuned here, but run with the settings they come with: {_listed(untuned)}."
    edges = [_name(entry) for entry in entries if entry.edge]
    if edges:
        yield f"The best setting was on the edge of what was tried, so a better one may lie outside: {_listed(edges)}."


def _data(places: Mapping[Place, Sequence[Contender]]) -> Iterator[str]:
    for place, field in places.items():
        scored = [contender for contender in field if contender.scores.seeds]
        if len(set().union(*(contender.scores.data for contender in scored))) > 1:
            yield f"{_at(place)}, the data were not the same for all runs: those cannot be compared."
        if any(contender.scores.disputed for contender in scored):
            yield f"{_at(place)}, the items do not add up to the metric, and were left out of the intervals."
        elif scored and all(contender.scores.items is None for contender in scored):
            yield f"{_at(place)}, items are not known, so the intervals are of the seeds alone."


def _references(places: Mapping[Place, Sequence[Contender]], rows: Sequence[Row], baseline: str) -> Iterator[str]:
    unbased = [_at(place) for place, field in places.items() if labelled(field, baseline) is None]
    if unbased:
        yield f'The baseline "{baseline}" has no score, so nothing is compared with it: {_listed(unbased)}.'
    bridged = {(row.entry.task, row.entry.model) for row in rows if row.gap is not None}
    for place, field in places.items():
        absent = [name for name in (FULL, HEAD) if reference(field, name) is None]
        if absent:
            yield f"{_at(place)}, there is no score of {' and '.join(absent)}, so no share of the gap is told."
        elif place not in bridged:
            yield f"{_at(place)}, full fine-tuning is not clearly better than the head alone: there is no gap to share."


def _software(rows: Sequence[Row], stacks: Mapping[str, Mapping[str, str | None]]) -> Iterator[str]:
    if len(stacks) < 2:
        return
    names = sorted({name for versions in stacks.values() for name in versions})
    differing = [name for name in names if len({versions.get(name) for versions in stacks.values()}) > 1]
    told = "; ".join(
        f"{letter}: {', '.join(f'{name} {versions.get(name)}' for name in differing)}"
        for letter, versions in list(stacks.items())[:MOST_NAMED]
    )
    yield f"Runs are of {len(stacks)} software stacks ({told}): what mixes them is marked with their letters."
    mixed = [_name(row.entry) for row in rows if "+" in row.stack]
    if mixed:
        yield f"Means over runs of several stacks: {_listed(mixed)}."
    places: dict[Place, set[str]] = {}
    for row in rows:
        places.setdefault((row.entry.task, row.entry.model), set()).update(filter(None, row.stack.split("+")))
    several = [_at(place) for place, letters in places.items() if len(letters) > 1]
    if several:
        yield f"Fronts and shares of the gap set runs of several stacks against each other: {_listed(several)}."


def _mixed(field: Sequence[Contender]) -> Iterator[str]:
    records = [record for one in field for record in one.runs]
    revisions = {record.revision for record in records if record.revision}
    if len(revisions) > 1:
        yield f"Runs are of {len(revisions)} revisions of the code: {_listed(sorted(revisions))}."
    changed = sum(revision.endswith("+") for revision in revisions)
    if changed:
        yield "Some runs were made with files that no revision has (marked +): nobody can repeat them exactly."
    devices = {str(record.hardware["device"]) for record in records if record.hardware.get("device")}
    if len(devices) > 1:
        yield f"Runs were made on {len(devices)} kinds of device: {_listed(sorted(devices))}."


def _contended(field: Sequence[Contender]) -> Iterator[str]:
    found = [_name(one.entry) for one in field if one.entry.contended]
    if found:
        yield f"Something else was running besides, so the times of these are too long: {_listed(found)}."


def _name(entry: Entry) -> str:
    return f"{entry.contender} on {entry.task} ({entry.model})"


def _at(place: Place) -> str:
    return f"On {place[0]} ({place[1]})"


def _listed(names: Iterable[str], joint: str = ", ") -> str:
    every = list(names)
    rest = len(every) - MOST_NAMED
    return joint.join(every[:MOST_NAMED]) + (f"{joint}and {rest} more" if rest > 0 else "")
