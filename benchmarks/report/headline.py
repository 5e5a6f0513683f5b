"""The headline: what can be said of each place, and what cannot."""

from collections.abc import Sequence
from dataclasses import dataclass

from inarch_benchmarks.analysis.findings import Difference, Findings, Row, Summary
from inarch_benchmarks.report.figures import figures
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.words import count, ends, listed, number, probability, share

LIKELY = 0.5
"""A contender is called one of the front from this probability on."""


@dataclass(frozen=True)
class Headline:
    """What can be said of one place.

    Attributes:
        place: Which.
        best: The method with the highest mean, with its figures; empty where no run finished.
        sentences: What holds of it and of the others.
    """

    place: Place
    best: str
    sentences: tuple[str, ...]


def headline(place: Place) -> Headline:
    """What can be said of one place."""
    if not place.methods:
        return Headline(place, "", ("No run of a method has finished here.",))
    best = place.methods[0]
    sentences = [_best(best, place), _front(place)]
    for other in dict.fromkeys(found.other for found in place.differences):
        sentences.append(_against(other, [found for found in place.differences if found.other == other]))
    return Headline(place, best.entry.contender, tuple(filter(None, sentences)))


def overall(findings: Findings) -> str:
    """What can be said over all tasks; empty where nothing can."""
    ranked = sorted((s for s in findings.summaries if s.gap and _is_method(s, findings)), key=lambda s: -_gap(s))
    if not ranked or len({(row.entry.task, row.entry.model) for row in findings.rows}) < 2:
        return ""
    first, rest = ranked[0], ranked[1:]
    told = (
        "Over all tasks, the largest mean share of the way from the head alone to full fine-tuning is that of "
        f"{first.contender}: {_shares(first)}."
    )
    close = [summary.contender for summary in rest if _overlap(first, summary)]
    if close:
        told += f" The order is not settled: the intervals of {listed(close, 4)} overlap with it."
    return told


def _best(best: Row, place: Place) -> str:
    trained = figures(best).trainable
    told = f"{best.entry.contender} has the highest mean {place.metric}"
    told += f", with {count(trained)} trained parameters." if trained is not None else "."
    mine = [found for found in place.differences if found.one == best.entry.contender]
    for found in mine:
        if found.verdict in ("indistinguishable", "too few seeds"):
            told += f" From {found.other} it cannot be told apart ({_why(found)})."
    return told


def _why(found: Difference) -> str:
    if found.verdict == "too few seeds":
        return "too few seeds"
    needed = "more than 1000" if found.seeds_needed is None else f"about {found.seeds_needed}"
    return f"p = {probability(found.adjusted)}; to settle it would take {needed} seeds"


def _front(place: Place) -> str:
    rows = sorted((row for row in place.methods if row.front >= LIKELY), key=lambda row: figures(row).trainable or 0)
    if not rows:
        return "No method is on the front of score against trained parameters with a probability of half or more."
    named = [f"{row.entry.contender} ({share(row.front)})" for row in rows]
    return f"On the front of score against trained parameters, with its probability: {listed(named, 8)}."


def _against(other: str, found: Sequence[Difference]) -> str:
    parts = []
    for verdict in ("better", "worse", "indistinguishable", "too few seeds"):
        names = [difference.one for difference in found if difference.verdict == verdict]
        if names:
            said = "have too few seeds to tell" if verdict == "too few seeds" else f"{_are(names)} {verdict}"
            parts.append(f"{listed(names)} {said}")
    return f"Against {other}: {'; '.join(parts)}." if parts else ""


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _is_method(summary: Summary, findings: Findings) -> bool:
    return any(row.entry.contender == summary.contender and row.entry.kind == "method" for row in findings.rows)


def _shares(summary: Summary) -> str:
    assert summary.gap is not None
    between = f" [{share(summary.gap.low)}, {share(summary.gap.high)}]" if ends(summary.gap) else ""
    return share(summary.gap.mean) + between


def _gap(summary: Summary) -> float:
    assert summary.gap is not None
    return summary.gap.mean


def _overlap(one: Summary, other: Summary) -> bool:
    assert one.gap is not None
    assert other.gap is not None
    if not (ends(one.gap) and ends(other.gap)):
        return number(one.gap.mean) == number(other.gap.mean)
    return other.gap.high >= one.gap.low
