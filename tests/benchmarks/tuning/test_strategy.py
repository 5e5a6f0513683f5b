"""The strategy with planted scores; what it must try follows by hand."""

import math
from collections.abc import Callable, Sequence

import pytest

from inarch_benchmarks.tuning.space import Settings, Space
from inarch_benchmarks.tuning.strategy import Told, best_of, next_round, on_edge

DECLARED = (1e-4, 3e-4, 1e-3, 3e-3)
Score = Callable[[Settings], float | None]


def peak(rate: float) -> Score:
    return lambda settings: -abs(math.log10(settings["learning_rate"] / rate))


def no_sampler(space: Space, told: Sequence[Told]) -> Settings | None:
    return None


def rounds(
    space: Space, score: Score, sample: Callable[..., Settings | None] = no_sampler
) -> tuple[list[list[float]], list[Told]]:
    """The learning rates of every round, and all trials."""
    told: list[Told] = []
    made = []
    while fresh := next_round(space, told, sample):
        made.append([settings["learning_rate"] for settings in fresh])
        told += [Told(settings, score(settings)) for settings in fresh]
    return made, told


def test_the_grid_comes_first_then_rates_next_to_the_best() -> None:
    made, told = rounds(Space({"learning_rate": DECLARED}, 6), peak(3e-4))
    assert made == [[1e-4, 3e-4, 1e-3, 3e-3], [1.7e-4, 5.5e-4]]
    assert not on_edge(Space({"learning_rate": DECLARED}, 6), told)


def test_few_trials_begin_in_the_middle_and_keep_a_third() -> None:
    assert rounds(Space({"learning_rate": DECLARED}, 4), peak(3e-4))[0] == [[1e-4, 3e-4, 1e-3], [1.7e-4]]
    assert rounds(Space({"learning_rate": DECLARED}, 3), peak(3e-4))[0] == [[3e-4, 1e-3], [1e-4]]
    assert rounds(Space({"learning_rate": DECLARED}, 1), peak(3e-4))[0] == [[3e-4]]


def test_the_grid_is_extended_while_the_best_is_on_its_edge() -> None:
    space = Space({"learning_rate": DECLARED}, 9)
    made, told = rounds(space, peak(5e-2))
    assert made == [[1e-4, 3e-4, 1e-3, 3e-3], [1e-2], [3e-2], [1e-1], [1.7e-2, 5.5e-2]]
    assert not on_edge(space, told)
    assert rounds(space, peak(1e-5))[0][1:4] == [[3e-5], [1e-5], [3e-6]]


def test_an_edge_at_the_end_is_said() -> None:
    space = Space({"learning_rate": DECLARED}, 6)
    made, told = rounds(space, peak(1.0))
    assert made == [[1e-4, 3e-4, 1e-3, 3e-3], [1e-2], [3e-2]]
    assert on_edge(space, told)


def test_no_rate_leaves_the_bounds() -> None:
    space = Space({"learning_rate": (0.1, 0.3)}, 6)
    made, told = rounds(space, peak(100.0))
    assert made == [[0.1, 0.3], [1.0], [0.55], [0.74], [0.86]]  # inwards from 1
    assert on_edge(space, told)


@pytest.mark.parametrize("trials", range(1, 17))
@pytest.mark.parametrize("best", [1e-6, 2e-4, 1e-3, 1.0])
def test_every_search_has_exactly_its_trials_and_none_twice(trials: int, best: float) -> None:
    _, told = rounds(Space({"learning_rate": DECLARED}, trials), peak(best))
    tried = [trial.settings["learning_rate"] for trial in told]
    assert len(tried) == len(set(tried)) == trials


def test_a_rate_that_diverges_is_no_edge() -> None:
    made, told = rounds(
        Space({"learning_rate": DECLARED}, 6), lambda s: s["learning_rate"] if s["learning_rate"] < 2e-3 else None
    )
    assert made[1] == [5.5e-4, 1.7e-3]
    best = best_of(Space({"learning_rate": DECLARED}, 6), told)
    assert best is not None
    assert best.settings == {"learning_rate": 1.7e-3}


def test_where_everything_fails_lower_rates_are_tried() -> None:
    space = Space({"learning_rate": DECLARED}, 6)
    made, told = rounds(space, lambda settings: None)
    assert made == [[1e-4, 3e-4, 1e-3, 3e-3], [3e-5], [1e-5]]
    assert best_of(space, told) is None
    assert not on_edge(space, told)


def test_of_rates_that_tie_the_middle_one_is_best() -> None:
    space = Space({"learning_rate": DECLARED}, 4)
    told = [Told({"learning_rate": rate}, 1.0 if rate > 2e-4 else 0.5) for rate in (3e-3, 1e-3, 3e-4, 1e-4)]
    best = best_of(space, told)
    assert best is not None
    assert best.settings == {"learning_rate": 1e-3}
    assert not on_edge(space, told)


def test_the_reserve_goes_to_other_settings_at_the_best_rate() -> None:
    space = Space({"learning_rate": DECLARED, "alpha": (4, 8, 16)}, 9, {"alpha": 8})
    seen: list[list[Settings]] = []

    def sample(space: Space, told: Sequence[Told]) -> Settings | None:
        seen.append([trial.settings for trial in told])
        return next(({"alpha": a} for a in (16, 4) if {"learning_rate": 1e-3, "alpha": a} not in seen[-1]), None)

    _, told = rounds(space, lambda s: (peak(1e-3)(s) or 0.0) + s["alpha"], sample)
    assert [trial.settings for trial in told[:4]] == [{"learning_rate": rate, "alpha": 8} for rate in DECLARED]
    assert [trial.settings for trial in told[4:6]] == [
        {"learning_rate": 1e-3, "alpha": 16},
        {"learning_rate": 1e-3, "alpha": 4},
    ]
    assert seen[0] == [{"learning_rate": 1e-3, "alpha": 8}]  # it is shown the trials at that rate alone
    assert [t.settings["learning_rate"] for t in told[6:8]] == [
        5.5e-4,
        1.7e-3,
    ]  # rates again where nothing else is left
    best = best_of(space, told)
    assert best is not None
    assert best.settings == {"learning_rate": 1e-3, "alpha": 16}
