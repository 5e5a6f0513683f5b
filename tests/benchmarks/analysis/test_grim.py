"""Impossible means: published examples, and an oracle that tries every count."""

from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal

import pytest

from inarch_benchmarks.analysis.grim import Reported, check_table, grain, possible

# DeBERTaV3-base, accuracy on RTE (277 examples), said to be means of five: arXiv:2303.10512, table 1.
ADALORA_RTE = ("83.75", "78.70", "84.48", "85.20", "85.20", "88.09", "83.39", "84.48", "85.56", "87.36")


@pytest.mark.parametrize(
    ("value", "count", "said"),
    [
        ("5.19", 28, False),  # Brown and Heathers' own example
        ("5.18", 28, True),
        ("5.21", 28, True),
        ("5.27", 43, False),
        ("3.48", 20, False),  # a die rolled twenty times
        ("3.45", 20, True),
        ("1.12", 8, True),  # 1.125, rounded down
        ("1.13", 8, True),  # and up
    ],
)
def test_known_examples(value: str, count: int, said: bool) -> None:
    assert possible(value, count) is said


def test_it_agrees_with_trying_every_count() -> None:
    rounded = {
        str((Decimal(100 * k) / 277).quantize(Decimal("0.01"), mode))
        for k in range(278)
        for mode in (ROUND_HALF_UP, ROUND_HALF_DOWN)
    }
    for hundredths in range(7000, 9001):
        value = f"{hundredths / 100:.2f}"
        assert possible(value, 277, percent=True) is (value in rounded)


@pytest.mark.parametrize("value", ADALORA_RTE)
def test_figures_on_rte_are_whole_numbers_of_its_examples(value: str) -> None:
    assert possible(value, 277, percent=True)


def test_grains() -> None:
    assert grain(277) == 277
    assert grain(277, 5) == 1385
    assert grain(277, 5, "median") == 277
    assert grain(277, 4, "median") == 554  # the middle two are averaged


def test_means_that_look_like_single_runs_are_remarked() -> None:
    rows = [Reported(str(index), "RTE", value, 277, runs=5) for index, value in enumerate(ADALORA_RTE)]
    (remark,) = check_table(rows)
    assert remark.startswith("RTE: 10 of 10 figures are whole numbers over 277, as single runs or medians are")
    # One in five means of five is a whole number over 277 by chance: 0.2 ** 10 = 1e-7.
    assert remark.endswith("with a probability of 1e-07.")
    assert check_table([Reported(row.label, "RTE", row.value, 277) for row in rows]) == []
    assert check_table([Reported(row.label, "RTE", row.value, 277, 5, "median") for row in rows]) == []


def test_true_means_of_five_are_not_remarked() -> None:
    values = [f"{100 * k / 1385:.2f}" for k in (1101, 1113, 1157, 1160, 1174, 1188, 1199, 1206)]
    assert check_table([Reported(str(index), "RTE", value, 277, runs=5) for index, value in enumerate(values)]) == []


def test_impossible_figures_are_named() -> None:
    table = [
        Reported("LoRA", "RTE", "86.60", 277),
        Reported("full", "RTE", "0.79", 277, percent=False),
        Reported("ours", "RTE", "101.08", 277),
    ]
    assert check_table(table) == [
        "LoRA, RTE: 86.60 % cannot be the mean of 277 items.",
        "ours, RTE: 101.08 % cannot be the mean of 277 items.",
    ]
    assert check_table([Reported("LoRA", "RTE", "86.61", 277, 3, "median")]) == [
        "LoRA, RTE: 86.61 % cannot be the median of 3 runs on 277 items."
    ]


def test_rounding_that_is_too_coarse_tells_nothing() -> None:
    assert check_table([Reported(str(index), "QQP", "91.9", 40_430, runs=5) for index in range(20)]) == []
