import random

import pytest
from scipy.stats import ttest_1samp

from inarch_benchmarks.comparison.priority import Pending, Standing, in_order, seeds_to_settle

STEADY = (0.001, -0.002, 0.0, 0.002, -0.001)
NEAR = (0.04, 0.01, 0.03, 0.005, 0.02)  # two more seeds, by hand: t is 3.3 at 5 seeds and must be 3.5 at 7
NEVER = (0.01, -0.01, 0.01, -0.01, -0.0001)


def standing(
    name: str,
    mean: float,
    seeds: int,
    of: int = 10,
    parameters: int = 100,
    noise: tuple[float, ...] = (0.0,),
    place: str = "digits",
) -> Standing:
    """A cell with some seeds done, whose scores are a mean and something added seed by seed."""
    scores = {seed: mean + noise[seed % len(noise)] for seed in range(seeds)}
    return Standing(name, place, parameters, scores, tuple(range(seeds, of)))


def names(runs: list[Pending]) -> list[str]:
    return [run.contender for run in runs]


@pytest.mark.parametrize("affordable", [None, 8])
def test_every_cell_gets_one_seed_then_two(affordable: int | None) -> None:
    cells = [standing("a", 0.5, 1, of=3), standing("b", 0.9, 0, of=3), standing("c", 0.1, 0, of=3)]
    runs = in_order(cells, "a", affordable)
    assert [(run.contender, run.seed) for run in runs] == [
        ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("c", 2)
    ]  # fmt: skip


def test_a_budget_that_allows_everything_changes_nothing() -> None:
    cells = [standing("base", 0.5, 3), standing("near", 0.5, 3, noise=NEAR), standing("far", 0.9, 4, noise=STEADY)]
    assert in_order(cells, "base", 20) == in_order(cells, "base")


def test_what_is_nearest_to_being_settled_goes_first_where_not_all_can_be_run() -> None:
    cells = [
        standing("settled", 0.9, 5, parameters=4, noise=STEADY),
        standing("never", 0.5, 5, parameters=1, noise=NEVER),
        standing("near", 0.5, 5, parameters=3, noise=NEAR),
        standing("base", 0.5, 5, parameters=2),
    ]
    runs = in_order(cells, "base", 6)
    first = [("near", 5), ("base", 5), ("near", 6), ("base", 6)]  # both sides of the comparison, at the same seeds
    assert [(run.contender, run.seed) for run in runs[:4]] == first
    assert len(runs) == 20  # nothing is dropped


def test_no_cell_is_preferred_before_all_have_three_seeds() -> None:
    cells = [standing("base", 0.5, 3), standing("near", 0.5, 3, noise=NEAR), standing("late", 0.5, 1)]
    assert names(in_order(cells, "base", 5))[:2] == ["late", "late"]


def test_rivals_on_the_front_are_compared_too() -> None:
    """Both are far above the baseline, but which of them is on the front is open."""
    cells = [
        standing("base", 0.2, 5, parameters=1000, noise=STEADY),
        standing("small", 0.8, 5, parameters=10, noise=STEADY[::-1]),
        standing("large", 0.8, 5, parameters=20, noise=NEAR),
        standing("bad", 0.3, 5, parameters=30, noise=STEADY[2:]),
    ]
    assert set(names(in_order(cells, "base", 4))[:4]) == {"small", "large"}


def test_tasks_are_compared_apart() -> None:
    text = [standing("base", 0.9, 5, place="text"), standing("a", 0.1, 5, noise=STEADY, place="text")]
    digits = [standing("base", 0.5, 5), standing("a", 0.5, 5, noise=NEAR)]
    assert {run.place for run in in_order([*text, *digits], "base", 4)[:2]} == {"digits"}


def test_failed_cells_and_missing_baselines_are_no_obstacle() -> None:
    failed = Standing("failed", "digits", 5, {}, (3, 4))
    runs = in_order([failed, standing("a", 0.5, 5), standing("b", 0.52, 5, noise=NEAR, parameters=200)], "gone", 3)
    assert names(runs)[:2] == ["failed", "failed"]
    assert len(runs) == 12


def test_the_number_of_seeds_agrees_with_scipys_t_test() -> None:
    """Repeating the differences keeps the mean; the spread is what is scaled, to keep the sample's."""
    differences = [0.02, -0.01, 0.015, 0.005]
    needed = seeds_to_settle(differences)
    assert needed is not None
    for seeds, settled in ((needed, True), (needed - 1, False)):
        sample = _of_moments(differences, seeds)
        assert (ttest_1samp(sample, 0).pvalue <= 0.05) == settled


def _of_moments(differences: list[float], seeds: int) -> list[float]:
    """A sample of that size with the mean and the standard deviation of the differences."""
    from statistics import fmean, stdev

    noise = random.Random(1)
    raw = [noise.random() for _ in range(seeds)]
    return [fmean(differences) + (each - fmean(raw)) / stdev(raw) * stdev(differences) for each in raw]


def test_differences_without_spread_or_without_mean() -> None:
    assert seeds_to_settle([0.1, 0.1, 0.1]) == 3
    assert seeds_to_settle([0.0, 0.0, 0.0]) is None
    assert seeds_to_settle([0.1, -0.1]) is None
    assert seeds_to_settle([0.01, -0.0099, 0.0001]) is None
