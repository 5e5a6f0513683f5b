"""The table of differences: what is better, what is worse, and what it would take to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from inarch_benchmarks.analysis.findings import Difference
from inarch_benchmarks.report.place import Place
from inarch_benchmarks.report.words import NOTHING, ends, number, probability, share, signed


@dataclass(frozen=True)
class Compared:
    """A difference as the page has it.

    Attributes:
        found: The difference.
        mean: In words.
        ends: Its interval in words.
        p: After Holm's correction, in words.
        improvement: In words.
        detectable: In words.
        seeds: How many would settle it.
        bar: Where the interval begins, where the mean is and where it ends, from -1 to 1; None where there is none.
    """

    found: Difference
    mean: str
    ends: str
    p: str
    improvement: str
    detectable: str
    seeds: str
    bar: tuple[float, float, float] | None


def compared(place: Place) -> list[tuple[str, list[Compared]]]:
    """The differences of a place, by what they are from; the largest first."""
    widest = max((abs(end) for found in place.differences for end in _ends(found)), default=0.0) or 1.0
    others = dict.fromkeys(found.other for found in place.differences)
    return [(other, [_words(found, widest) for found in _largest_first(place.differences, other)]) for other in others]


def _largest_first(differences: Sequence[Difference], other: str) -> list[Difference]:
    mine = [found for found in differences if found.other == other]
    return sorted(mine, key=lambda found: -found.interval.mean if isfinite(found.interval.mean) else 1e9)


def _words(found: Difference, widest: float) -> Compared:
    settled = found.verdict in ("better", "worse")
    return Compared(
        found,
        signed(found.interval.mean),
        ends(found.interval),
        probability(found.adjusted),
        share(found.improvement),
        number(found.detectable),
        "settled" if settled else _needed(found),
        tuple(end / widest for end in _ends(found)) if len(_ends(found)) == 3 else None,  # type: ignore[arg-type]
    )


def _needed(found: Difference) -> str:
    if found.seeds_needed is not None:
        return str(found.seeds_needed)
    return "> 1000" if isfinite(found.p) else NOTHING


def _ends(found: Difference) -> tuple[float, ...]:
    values = (found.interval.low, found.interval.mean, found.interval.high)
    return tuple(value for value in values if isfinite(value))
