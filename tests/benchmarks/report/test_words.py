from math import inf, nan

import pytest

from inarch_benchmarks.analysis.findings import Difference, Interval, Summary
from inarch_benchmarks.report import words
from inarch_benchmarks.report.headline import headline, overall
from inarch_benchmarks.report.place import places

from made_up import findings


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.8591, "0.859"),
        (-0.0312, "\N{MINUS SIGN}0.031"),
        (92.412, "92.41"),
        (1234.5, "1234"),
        (None, words.NOTHING),
        (nan, words.NOTHING),
        (inf, words.NOTHING),
    ],
)
def test_numbers(value: float | None, told: str) -> None:
    assert words.number(value) == told


def test_units() -> None:
    assert words.size(5_161_000).replace("\N{NO-BREAK SPACE}", " ") == "5.16 MB"
    assert words.size(999) == "999\N{NO-BREAK SPACE}B"
    assert words.seconds(0.0123).replace("\N{NO-BREAK SPACE}", " ") == "12.3 ms"
    assert words.seconds(7200) == "2.0 h"
    assert words.seconds(90).replace("\N{NO-BREAK SPACE}", " ") == "90 s"
    assert words.count(1_234_567) == "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"
    assert words.share(0.934) == "93\N{NO-BREAK SPACE}%"
    assert words.signed(0.05) == "+0.050"
    assert words.probability(0.0004) == "< 0.001"


def test_intervals() -> None:
    assert words.interval(Interval(0.5, 0.4, 0.6, 5, 0.1, 0.0, "t")) == "0.500 [0.400, 0.600]"
    assert words.interval(Interval(0.5, nan, nan, 1, nan, 0.0, "none")) == "0.500"
    assert words.interval(None) == words.NOTHING


def test_lists() -> None:
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(list("abcdefgh"), 6) == "a, b, c, d, e, f and 2 more"


def test_a_headline_does_not_claim_what_is_not_known() -> None:
    place = places(findings(tasks=1))[0]
    best = place.methods[0].entry.contender
    open_ = Difference(
        best, "full", place.task, place.model, Interval(0.01, -0.02, 0.04, 5, 0.02, 0.0, "t"),
        p=0.2, adjusted=0.4, improvement=0.6, detectable=0.03, seeds_needed=41, verdict="indistinguishable",
    )  # fmt: skip
    told = " ".join(headline(place.__class__(place.task, place.model, place.label, place.rows, (open_,))).sentences)
    assert "From full it cannot be told apart (p = 0.400; to settle it would take about 41 seeds)." in told
    assert f"Against full: {best} is indistinguishable." in told
    assert "better" not in told


def test_an_order_that_is_not_settled_is_called_so() -> None:
    found = findings(tasks=2, methods=3)

    def summary(name: str, mean: float) -> Summary:
        return Summary(name, Interval(mean, mean - 0.05, mean + 0.05, 5, 0.05, 0.0, "t"), mean, 2)

    names = [row.entry.contender for row in found.rows if row.entry.kind == "method"][:3]
    object.__setattr__(found, "summaries", tuple(map(summary, names, (0.9, 0.88, 0.5))))
    told = overall(found)
    assert told.startswith(
        f"Over all tasks, the largest mean share of the way from the head alone to full fine-tuning is that of {names[0]}"
    )
    assert f"the intervals of {names[1]} overlap with it" in told
    assert names[2] not in told
