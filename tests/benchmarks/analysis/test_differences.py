"""Differences against scipy, hand-worked examples and planted truths."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from inarch_benchmarks.analysis.contenders import Contender
from inarch_benchmarks.analysis.differences import family, holm, improvement, verdict
from inarch_benchmarks.analysis.panel import Panel, estimates
from inarch_benchmarks.analysis.power import noncentrality
from inarch_benchmarks.analysis.scores import Scores
from inarch_benchmarks.analysis.student import half_width

Make = Callable[..., list[Contender]]


def answers(
    rng: np.random.Generator, rounds: int, seeds: int, items: int, spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers of two equal methods; items are easy or hard for both, and every run has its luck."""
    easy = rng.normal(1.0, 1.5, (rounds, 1, items))

    def once() -> np.ndarray:
        luck = rng.normal(0, spread, (rounds, seeds, 1))
        return (rng.random((rounds, seeds, items)) < 1 / (1 + np.exp(-easy - luck))).astype(np.uint8)

    return once(), once()


def test_holm_by_hand() -> None:
    # Sorted: .005 x 4 = .02, .01 x 3 = .03, .03 x 2 = .06, .04 x 1 = .04 but not below .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_leaves_out_what_was_not_asked() -> None:
    assert holm([0.6, float("nan"), 0.02]) == pytest.approx([0.6, float("nan"), 0.04], nan_ok=True)
    assert holm([0.7, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


def test_improvement_is_mann_whitneys() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 7) / 10, rng.integers(0, 6, 5) / 10
    assert improvement(x, y) == pytest.approx(stats.mannwhitneyu(x, y).statistic / 35)
    assert improvement([0.5], [0.5]) == 0.5
    assert improvement([0.6, 0.7], [0.5]) == 1.0


def test_a_difference_without_items_is_the_paired_t_test(contenders: Make) -> None:
    one, other = [0.82, 0.85, 0.81, 0.86, 0.84], [0.80, 0.80, 0.79, 0.83, 0.80]
    (found,) = family([tuple(contenders(("lora", None, one), ("head", None, other)))])
    oracle = stats.ttest_rel(one, other)
    assert found.p == pytest.approx(oracle.pvalue)
    interval = oracle.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((interval.low, interval.high))
    assert (found.one, found.other, found.verdict) == ("lora", "head", "better")
    assert found.adjusted == found.p
    (back,) = family([tuple(contenders(("head", None, other), ("lora", None, one)))])
    assert (back.verdict, back.interval.mean) == ("worse", pytest.approx(-found.interval.mean))


def test_only_common_seeds_are_paired(contenders: Make) -> None:
    samples = [
        Scores((1, 2, 3, 4), np.array([0.5, 0.6, 0.7, 0.9]), None, 100),
        Scores((0, 2, 3, 4), np.array([0.0, 0.4, 0.6, 0.8]), None, 100),
        Scores((9,), np.array([0.5]), None, 100),
    ]
    panel = Panel(samples)
    names = contenders(("a", None, [0.1]), ("b", None, [0.1]), ("c", None, [0.1]))
    one, other, stranger = (Contender(each.entry, (), some, panel) for each, some in zip(names, samples, strict=True))
    (found,) = family([(one, other)])
    assert found.interval.seeds == 3
    assert found.p == pytest.approx(stats.ttest_rel([0.6, 0.7, 0.9], [0.4, 0.6, 0.8]).pvalue)
    assert family([(one, stranger)]) == []


def test_items_are_paired(contenders: Make) -> None:
    """Hard items are hard for both: that cancels, and only what the two disagree on counts."""
    rng = np.random.default_rng(0)
    one = np.tile(rng.integers(0, 2, 400), (5, 1))
    other = one.copy()
    other[:, :40] = 0
    (found,) = family([tuple(contenders(("a", one), ("b", other)))])
    lost = one[0] - other[0]
    assert found.interval.item_error == pytest.approx(stats.sem(lost))
    assert found.interval.item_error < stats.sem(one[0]) / 2


@pytest.mark.parametrize(
    ("mean", "adjusted", "seeds", "said"),
    [
        (0.1, 0.01, 5, "better"),
        (-0.1, 0.01, 5, "worse"),
        (0.1, 0.05, 5, "indistinguishable"),
        (0.1, 0.001, 2, "too few seeds"),
        (0.1, float("nan"), 1, "too few seeds"),
    ],
)
def test_verdicts(mean: float, adjusted: float, seeds: int, said: str) -> None:
    assert verdict(mean, adjusted, seeds) == said


def test_one_seed_is_no_evidence(contenders: Make) -> None:
    (found,) = family([tuple(contenders(("a", np.ones((1, 50), int)), ("b", np.zeros((1, 50), int))))])
    assert found.verdict == "too few seeds"
    assert np.isnan([found.p, found.adjusted, found.detectable, found.interval.low]).all()
    assert found.seeds_needed is None
    assert found.improvement == 1.0


def test_the_same_runs_do_not_differ(contenders: Make) -> None:
    same = np.random.default_rng(0).integers(0, 2, (3, 50))
    (found,) = family([tuple(contenders(("a", same), ("b", same)))])
    assert (found.verdict, found.p, found.improvement) == (
        "indistinguishable",
        1.0,
        pytest.approx(improvement(same.mean(1), same.mean(1))),
    )
    assert found.interval.low < 0 < found.interval.high


def test_seeds_that_agree_by_chance_prove_nothing(contenders: Make) -> None:
    """One answer more at each of three seeds: the t test alone has no spread to go by, and would be certain."""
    one, other = np.zeros((3, 100), int), np.zeros((3, 100), int)
    one[0, 3] = one[1, 7] = one[2, 50] = 1
    with_items = family([tuple(contenders(("a", one), ("b", other)))])[0]
    without = family([tuple(contenders(("a", None, one.mean(1)), ("b", None, other.mean(1)), rows=100))])[0]
    assert (with_items.verdict, without.verdict) == ("indistinguishable", "indistinguishable")


def test_all_against_nothing_is_a_difference(contenders: Make) -> None:
    (found,) = family([tuple(contenders(("a", np.ones((3, 100), int)), ("b", np.zeros((3, 100), int))))])
    assert found.verdict == "better"


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("spread", [0.1, 0.5])
@pytest.mark.parametrize("items", [True, False])
def test_a_against_a(contenders: Make, seeds: int, spread: float, items: bool) -> None:
    """Two equal methods, 800 times: found to differ at most as often as the level says."""
    rounds = 800
    one, other = answers(np.random.default_rng(seeds), rounds, seeds, 150, spread)
    pairs = [
        tuple(contenders(("a", x if items else None, x.mean(axis=1)), ("b", y if items else None, y.mean(axis=1))))
        for x, y in zip(one, other, strict=True)
    ]
    found = family(pairs)
    claimed = sum(each.p < 0.05 for each in found)
    assert claimed <= stats.binom.ppf(0.999, rounds, 0.05)
    assert all((each.p < 0.05) == (not each.interval.low <= 0 <= each.interval.high) for each in found)
    # As one family of 800, too: no claim at all, but with a probability of 5 %.
    assert {each.verdict for each in found} == {"indistinguishable"}


def test_a_family_makes_a_false_claim_at_most_at_the_level(contenders: Make) -> None:
    """Suites of one baseline and six methods, all alike: Holm's correction holds for their differences together."""
    rng, suites, false = np.random.default_rng(0), 300, 0
    for _ in range(suites):
        means = rng.normal(0.8, 0.02, (7, 5))
        baseline, *others = contenders(*((str(index), None, row) for index, row in enumerate(means)))
        found = family([(other, baseline) for other in others])
        false += any(each.verdict != "indistinguishable" for each in found)
    assert false <= stats.binom.ppf(0.999, suites, 0.05)


@pytest.mark.parametrize(("seeds", "lost"), [(3, 0.29), (5, 0.155), (10, 0.1)])
def test_a_known_handicap_is_found_with_the_predicted_power(contenders: Make, seeds: int, lost: float) -> None:
    """A method that is made to miss a known share of what it knows; what is predicted comes from many other runs."""
    rng, rounds, items, spread = np.random.default_rng(seeds), 1000, 200, 0.25

    def handicapped(rounds: int, seeds: int) -> list[tuple[Contender, Contender]]:
        one, other = answers(rng, rounds, seeds, items, spread)
        other = other * (rng.random(other.shape) >= lost)
        return [tuple(contenders(("a", x), ("b", y))) for x, y in zip(one, other, strict=True)]

    many = estimates([(one.panel, one.scores, other.scores) for one, other in handicapped(12, 300)])
    by_seeds, by_items = many.by_seeds.mean() * 300 / seeds, many.by_items.mean()
    error = float(np.sqrt(by_seeds + by_items))
    critical = float(half_width(by_seeds, by_items, seeds, items)) / error
    degrees = brentq(lambda degrees: stats.t.ppf(0.975, degrees) - critical, 1, 1e6)
    predicted = float(stats.nct.sf(critical, degrees, many.mean.mean() / error))
    found = family(handicapped(rounds, seeds))
    power = float(np.mean([each.p < 0.05 for each in found]))
    assert 0.6 < predicted < 0.95
    assert power == pytest.approx(predicted, abs=0.04)
    assert all(each.interval.mean > 0 for each in found if each.p < 0.05)
    assert np.median([each.detectable for each in found]) == pytest.approx(
        float(noncentrality(critical)) * error, rel=0.2
    )
