"""Findings of planted suites."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from inarch import ConfigError
from inarch_benchmarks.analysis.compare import compare
from inarch_benchmarks.analysis.differences import holm
from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.find import find
from inarch_benchmarks.analysis.findings import Findings
from inarch_benchmarks.comparison.record import RunRecord

Make = Callable[..., Entry]

LEVELS = {"full": 0.90, "head": 0.50, "lora": 0.85, "bitfit": 0.70, "random": 0.30}


@pytest.fixture
def suite(entry: Make) -> list[Entry]:
    rng = np.random.default_rng(0)
    kinds = {"full": "reference", "head": "reference", "random": "control"}
    trainable = {"full": 1000, "head": 0, "lora": 100, "bitfit": 200, "random": 100}
    return [
        entry(
            name,
            list(level + rng.normal(0, 0.01, 5)),
            task=task,
            kind=kinds.get(name, "method"),
            trainable=trainable[name],
        )
        for task in ("digits", "polarity")
        for name, level in LEVELS.items()
    ]


def means(entries: list[Entry], contender: str, task: str) -> list[float]:
    (found,) = (each for each in entries if (each.contender, each.task) == (contender, task))
    return [record.test.metrics["accuracy"] for record in found.records if record.test is not None]


def remark(findings: Findings, start: str) -> str:
    (found,) = (each for each in findings.remarks if each.startswith(start))
    return found


def test_everything_of_a_whole_suite(suite: list[Entry]) -> None:
    found = find("planted", suite, "lora")
    assert found.suite == "planted"
    assert [row.entry for row in found.rows] == suite
    assert {(each.one, each.other, each.task) for each in found.differences} == {
        (one, other, task)
        for one, other in (("bitfit", "lora"), ("lora", "full"), ("bitfit", "full"))
        for task in ("digits", "polarity")
    }
    assert {each.verdict for each in found.differences} == {"worse"}
    row = found.rows[2]
    lora = means(suite, "lora", "digits")
    assert row.score is not None
    assert (row.score.mean, row.score.spread) == pytest.approx((np.mean(lora), np.std(lora, ddof=1)))
    assert row.gap is not None
    assert row.gap.mean == pytest.approx(
        (np.mean(lora) - np.mean(means(suite, "head", "digits")))
        / (np.mean(means(suite, "full", "digits")) - np.mean(means(suite, "head", "digits")))
    )
    # The control needs no more parameters than LoRA, but competes with nobody; BitFit needs more than LoRA and is worse.
    assert {row.entry.contender: row.front for row in found.rows} == {
        "full": 1.0,
        "head": 1.0,
        "lora": 1.0,
        "bitfit": 0.0,
        "random": 0.0,
    }
    assert found.stacks == {"A": {"python": "3.11", "torch": "2.13.0"}}
    assert {row.stack for row in found.rows} == {"A"}
    assert [each.contender for each in found.summaries] == list(LEVELS)
    summary = found.summaries[2]
    assert summary.score == pytest.approx(
        np.mean([np.mean(means(suite, "lora", task)) for task in ("digits", "polarity")])
    )
    assert summary.gap is not None
    assert summary.gap.mean == pytest.approx(
        np.mean([row.gap.mean for row in found.rows if row.entry.contender == "lora" and row.gap])
    )
    assert (summary.tasks, summary.stack) == (2, "A")
    assert [each for each in found.remarks if "items are not known" not in each] == []


def test_one_baseline_is_one_family_over_all_tasks(suite: list[Entry]) -> None:
    found = find("planted", suite, "lora").differences
    full = [each for each in found if each.other == "full"]
    p = [stats.ttest_rel(means(suite, each.one, each.task), means(suite, "full", each.task)).pvalue for each in full]
    assert [each.p for each in full] == pytest.approx(p)
    assert [each.adjusted for each in full] == pytest.approx(holm(p))


def test_full_as_the_baseline_is_compared_with_once(suite: list[Entry]) -> None:
    found = find("planted", suite, "full")
    assert [(each.one, each.other) for each in found.differences] == [("lora", "full"), ("bitfit", "full")] * 2


def test_what_failed_is_told(suite: list[Entry], entry: Make, record: Callable[..., RunRecord]) -> None:
    broken = entry("prefix", [0.8, 0.8, None, 0.7, None], task="digits")
    lost = entry("ia3", [None, None], task="digits", seeds=5)
    nan = entry(
        "vera",
        [],
        task="digits",
        seeds=1,
        records=[record("vera", 0, None, status="diverged", reason="loss is NaN at step 7")],
    )
    found = find("planted", [*suite, broken, lost, nan], "lora")
    rows = {row.entry.contender: row for row in found.rows if row.entry.task == "digits"}
    assert (rows["prefix"].failures, rows["ia3"].failures) == (2, 2)
    assert rows["prefix"].score is not None
    assert rows["prefix"].score.seeds == 3
    assert (rows["ia3"].score, rows["ia3"].gap, rows["ia3"].front) == (None, None, 0.0)
    assert (
        remark(found, "Runs that failed")
        == "Runs that failed are in no mean, which flatters: prefix on digits (vit), 2 of 5 (out of memory); ia3 on digits (vit), 2 of 2 (out of memory)."
    )
    assert "vera on digits (vit), 1 of 1 (loss is NaN at step 7)" in remark(found, "Runs that diverged")
    assert remark(found, "Runs are missing") == "Runs are missing: ia3 on digits (vit), 2 of 5."
    assert not [each for each in found.differences if "ia3" in (each.one, each.other)]
    summary = {each.contender: each for each in found.summaries}
    assert (summary["prefix"].score, summary["prefix"].tasks) == (None, 1)


def test_few_seeds_are_told(entry: Make) -> None:
    found = find("planted", [entry("lora", [0.8]), entry("bitfit", [0.7]), entry("ia3", [0.6, 0.6])], "lora")
    assert (
        remark(found, "One seed")
        == "One seed shows no spread, so there is no interval, and nothing is compared: lora on digits (vit), bitfit on digits (vit)."
    )
    assert remark(found, "Below 3 seeds").endswith("ia3 on digits (vit).")
    assert {each.verdict for each in found.differences} == {"too few seeds"}


def test_tuning_is_told(entry: Make) -> None:
    found = find("planted", [entry("lora", [0.8] * 3, tuned=False), entry("ia3", [0.7] * 3, edge=True)], "lora")
    assert remark(found, "Not tuned here").endswith(": lora on digits (vit).")
    assert remark(found, "The best setting was on the edge").endswith(": ia3 on digits (vit).")


def test_references_that_are_absent_or_no_better_are_told(entry: Make) -> None:
    alone = find("planted", [entry("lora", [0.8, 0.81, 0.82])], "ia3")
    assert remark(alone, "On digits (vit), there is no score of full and head")
    assert remark(alone, 'The baseline "ia3" has no score')
    flat = [
        entry("full", [0.5, 0.6, 0.4], kind="reference"),
        entry("head", [0.5, 0.4, 0.6], kind="reference"),
        entry("lora", [0.8, 0.81, 0.82]),
    ]
    found = find("planted", flat, "lora")
    assert remark(found, "On digits (vit), full fine-tuning is not clearly better")
    assert [row.gap for row in found.rows] == [None, None, None]


def test_mixed_software_is_marked(suite: list[Entry], entry: Make, record: Callable[..., RunRecord]) -> None:
    def runs(method: str, *torch: str) -> list[RunRecord]:
        return [
            record(method, seed, 0.7 + seed / 100, software={"python": "3.11.9", "torch": version})
            for seed, version in enumerate(torch)
        ]

    mixed = entry("ia3", [], seeds=3, records=runs("ia3", "2.13.0", "2.14.0", "2.14.0"))
    moved = entry("vera", [], seeds=3, records=runs("vera", "2.14.0", "2.14.0", "2.14.0"))
    found = find("planted", [*suite, mixed, moved], "lora")
    rows = {row.entry.contender: row.stack for row in found.rows}
    assert (rows["lora"], rows["ia3"], rows["vera"]) == ("A", "A+B", "B")
    marks = {(each.one, each.other): each.stack for each in found.differences}
    assert (marks["vera", "lora"], marks["ia3", "lora"], marks["bitfit", "lora"]) == ("A+B", "A+B", "A")
    assert {each.contender: each.stack for each in found.summaries}["ia3"] == "A+B"
    assert remark(found, "Runs are of 2 software stacks (A: torch 2.13.0; B: torch 2.14.0)")
    assert remark(found, "Means over runs of several stacks").endswith(": ia3 on digits (vit).")
    assert remark(found, "Fronts and shares").endswith(": On digits (vit).")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"revision": "abc"}, "Runs are of 2 revisions of the code: abc, abd+."),
        ({"hardware": {"device": "H200"}}, "Runs were made on 2 kinds of device: H200, cpu."),
        (
            {"contended": True},
            "Something else was running besides, so the times of these are too long: lora on digits (vit).",
        ),
    ],
)
def test_what_else_was_not_alike_is_told(
    entry: Make, record: Callable[..., RunRecord], fields: dict[str, Any], said: str
) -> None:
    others: dict[str, Any] = {"revision": "abd+", "hardware": {"device": "cpu"}}
    runs = [
        record("lora", 0, 0.5, **others | fields),
        record("lora", 1, 0.6, **others),
        record("lora", 2, 0.6, **others),
    ]
    assert said in find("planted", [entry("lora", [], seeds=3, records=runs)], "lora").remarks


@pytest.mark.parametrize(("share", "told"), [(0.3, False), (0.6, True)])
def test_times_of_the_timing_pass_are_judged_by_that_pass(
    entry: Make, record: Callable[..., RunRecord], share: float, told: bool
) -> None:
    runs = [record("lora", seed, 0.5 + 0.1 * seed, contended=not told) for seed in range(3)]
    timed = replace(entry("lora", [], seeds=3, records=runs), timing={"step": {"median": 0.1}, "contended": share})
    found = find("planted", [timed], "lora")
    assert any(remark.startswith("Something else was running") for remark in found.remarks) is told


def test_long_lists_are_cut(entry: Make) -> None:
    found = find("planted", [entry(f"m{index}", [0.5] * 3, tuned=False) for index in range(20)], "m0")
    assert remark(found, "Not tuned here").endswith("m5 on digits (vit), and 14 more.")


def test_an_empty_suite_has_no_findings() -> None:
    assert find("planted", [], "lora") == Findings("planted", (), (), ())


def test_two_contenders(suite: list[Entry]) -> None:
    found = compare(suite, "lora", "random")
    assert [(each.one, each.other, each.task, each.verdict) for each in found] == [
        ("lora", "random", "digits", "better"),
        ("lora", "random", "polarity", "better"),
    ]
    p = [stats.ttest_rel(means(suite, "lora", each.task), means(suite, "random", each.task)).pvalue for each in found]
    assert [each.adjusted for each in found] == pytest.approx(holm(p))


def test_two_that_cannot_be_compared(suite: list[Entry], entry: Make) -> None:
    with pytest.raises(ConfigError, match=r'No contender is called "lara"\. There are: lora'):
        compare(suite, "lara", "full")
    with pytest.raises(ConfigError, match='"lora" and "ia3" have no finished runs at the same seed'):
        compare([*suite, entry("ia3", [0.5], task="reversal")], "lora", "ia3")
