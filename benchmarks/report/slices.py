"""Scores on parts of the test data."""

from statistics import fmean

from inarch_benchmarks.report.place import Place


def slices(place: Place) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """The names of the parts, and for every contender its means over seeds."""
    names: dict[str, None] = {}
    table = []
    for row in place.rows:
        scores = [record.test.slices for record in row.entry.finished if record.test and record.test.slices]
        for score in scores:
            names |= dict.fromkeys(score)
        if scores:
            table.append((row.entry.contender, scores))
    return list(names), [
        (contender, [_mean([score[name] for score in scores if name in score]) for name in names])
        for contender, scores in table
    ]


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None
