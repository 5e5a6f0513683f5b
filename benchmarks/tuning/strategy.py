"""The strategy: which settings are tried next, given what the trials so far have scored. No state, no clock, no chance.

1. The middle of the declared grid of learning rates, as many as two thirds of the trials allow; the rest is a reserve.
2. While the best rate lies on an edge of what was tried, the grid is extended by half a decade beyond it.
3. What is left goes to the other declared settings, at the best rate, as a sampler proposes them;
4. or, where there are none (any more), to rates half-way between the best and its neighbours.

More of a score is better. A score of None (a trial that failed or diverged) is worse than any other; if that is all
there is, the rates are too high, and lower ones are tried. Scores are taken as they are: noise of validation data may
elect the wrong setting, with the same number of draws for every method. Among rates that tie, the middle one is best,
the lower of two, so that a plateau is no edge; among other settings that tie, the earliest.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from inarch_benchmarks.tuning.rates import between, beyond
from inarch_benchmarks.tuning.space import RATE, Settings, Space


@dataclass(frozen=True)
class Told:
    """A trial that has ended.

    Attributes:
        settings: What was tried.
        score: On validation data; None where it failed.
    """

    settings: Settings
    score: float | None


Sampler = Callable[[Space, Sequence[Told]], Settings | None]
"""Proposes other settings that are not among the trials given, which are all at one rate; None where none is left."""


def next_round(space: Space, told: Sequence[Told], sample: Sampler) -> list[Settings]:
    """What to try next, all of it in parallel; nothing when the trials are used up, or there is nothing left to try."""
    left = space.trials - len(told)
    if left <= 0:
        return []
    if not told:
        return _at(space, _centre(space))
    rates = {trial.settings[RATE] for trial in told}
    best = best_of(space, [trial for trial in told if _others(trial.settings) == space.first])
    fresh = _around_best(space, told, rates, best.settings[RATE], sample) if best else []
    return fresh[:left] or _at(space, _wider(rates))[:1]


def best_of(space: Space, told: Iterable[Told]) -> Told | None:
    """The best trial; None where all failed. For ties see above."""
    scored = [trial for trial in told if trial.score is not None]
    if not scored:
        return None
    top = max(trial.score for trial in scored if trial.score is not None)
    tied = [trial for trial in scored if trial.score == top]
    started = sorted((t for t in tied if _others(t.settings) == space.first), key=lambda t: float(t.settings[RATE]))
    return started[(len(started) - 1) // 2] if started else tied[0]


def on_edge(space: Space, told: Sequence[Told]) -> bool:
    """Whether the best trial has the highest or lowest learning rate of all that were tried."""
    best = best_of(space, told)
    return best is not None and bool(_edges(best.settings[RATE], {trial.settings[RATE] for trial in told}))


def _centre(space: Space) -> tuple[float, ...]:
    """The middle of the declared rates: two thirds of the trials at most, rounded up; the lower ones of an odd rest."""
    count = min(len(space.rates), space.trials - space.trials // 3)
    begin = (len(space.rates) - count) // 2
    return space.rates[begin : begin + count]


def _around_best(
    space: Space, told: Sequence[Told], rates: Collection[float], best: float, sample: Sampler
) -> list[Settings]:
    """What is worth trying, given the best learning rate."""
    if fresh := _at(space, [beyond(best, upward=upward) for upward in _edges(best, rates)]):
        return fresh
    if space.others and (settings := sample(space, [trial for trial in told if trial.settings[RATE] == best])):
        return [{RATE: best, **settings}]
    return _at(space, _halfway(best, rates))


def _edges(rate: float, rates: Collection[float]) -> list[bool]:
    """The sides on which no other rate was tried: False for downward, True for upward."""
    return [upward for upward in (False, True) if rate == (max(rates) if upward else min(rates))]


def _halfway(rate: float, rates: Collection[float]) -> list[float | None]:
    """The rates between this one and its neighbours."""
    lower = [other for other in rates if other < rate]
    higher = [other for other in rates if other > rate]
    return [between(max(lower), rate) if lower else None, between(rate, min(higher)) if higher else None]


def _wider(rates: Collection[float]) -> list[float | None]:
    """The next rates below and above all that were tried."""
    return [beyond(min(rates), upward=False), beyond(max(rates), upward=True)]


def _at(space: Space, rates: Iterable[float | None]) -> list[Settings]:
    """The first other settings at each rate that there is."""
    return [{RATE: rate, **space.first} for rate in rates if rate is not None]


def _others(settings: Settings) -> Settings:
    return {name: value for name, value in settings.items() if name != RATE}
