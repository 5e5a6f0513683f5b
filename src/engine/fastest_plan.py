"""The fastest way to checkpoint each block that fits into a budget of memory: exact, by dynamic programming.

The backward pass frees what the last blocks have kept before it comes to the first ones. So a block's peak stands on
what the blocks before it have kept, and on nothing else:

    kept of the blocks before it + what lies around it + its own peak <= room          for each block
    kept of all blocks + tail <= room                                                   for head and loss

Blocks are decided in order. Of two choices for the same blocks, one that keeps no less and takes no less time is never
better, whatever follows, and is dropped.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby

from .block_costs import FULL, NONE, Call, StepCosts

_MOST_CHOICES = 4096
"""Of the blocks so far, at the same time; more are thinned out, to the best of each of as many sizes."""


@dataclass(frozen=True)
class Plan:
    """How to checkpoint each block.

    Attributes:
        levels: By the blocks' names, in their order.
        peak: Bytes at most beyond what rests between two steps.
        seconds: What the backward pass takes longer than without checkpointing.
    """

    levels: Mapping[str, str]
    peak: int
    seconds: float


@dataclass(frozen=True)
class _Choice:
    """Levels of the calls so far."""

    kept: int = 0
    peak: int = 0
    seconds: float = 0.0
    level: str = ""
    before: "_Choice | None" = None

    def then(self, call: Call, level: str) -> "_Choice":
        cost = call.costs[level]
        peak = max(self.peak, self.kept + call.before, self.kept + call.around + cost.peak)
        return _Choice(self.kept + cost.kept, peak, self.seconds + cost.seconds, level, self)

    def levels(self) -> list[str]:
        found, choice = [], self
        while choice.before is not None:
            found.append(choice.level)
            choice = choice.before
        return found[::-1]


def fastest_plan(costs: StepCosts, room: int) -> Plan | None:
    """The plan that takes the least time in ``room`` bytes; ``None`` if none fits."""
    return _best(costs, _Aim(room, lambda choice: choice.seconds, lambda plan: (plan.seconds, plan.peak)))


def leanest_plan(costs: StepCosts) -> Plan:
    """The plan that takes the least memory."""
    plan = _best(costs, _Aim(None, lambda choice: choice.peak, lambda plan: (plan.peak, plan.seconds)))
    assert plan is not None
    return plan


def uniform_plan(costs: StepCosts, level: str) -> Plan:
    """All blocks at one level, or fully checkpointed where they have no such level."""
    return plan_of(costs, {call.block: level if level in call.costs else FULL for call in costs.calls})


def plan_of(costs: StepCosts, levels: Mapping[str, str]) -> Plan:
    """What levels of one's own would cost."""
    choice = _Choice()
    for call in costs.calls:
        choice = choice.then(call, levels[call.block])
    return _plan(costs, choice)


@dataclass(frozen=True)
class _Aim:
    """What is looked for.

    Attributes:
        room: The most bytes; ``None`` for any.
        price: What is to be low, beside what is kept, of the levels of some blocks.
        rank: What is to be low of a plan.
    """

    room: int | None
    price: Callable[[_Choice], float]
    rank: Callable[[Plan], tuple[float, float]]


def _best(costs: StepCosts, aim: _Aim) -> Plan | None:
    plans = chain.from_iterable(_search(costs, aim, level) for level in _levels_of_repeated(costs))
    return min(plans, key=aim.rank, default=None)


def _levels_of_repeated(costs: StepCosts) -> list[str]:
    """What blocks that are called several times in a pass may be at: all of them at the same."""
    repeated = _repeated(costs)
    if not repeated:
        return [NONE]
    return sorted(set.intersection(*(set(call.costs) for call in costs.calls if call.block in repeated)))


def _repeated(costs: StepCosts) -> set[str]:
    return {name for name, count in Counter(call.block for call in costs.calls).items() if count > 1}


def _search(costs: StepCosts, aim: _Aim, of_repeated: str) -> Iterator[Plan]:
    """The plans that may be best, with blocks that are called several times at the level ``of_repeated``."""
    repeated = _repeated(costs)
    choices = [_Choice()]
    for call in costs.calls:
        levels: Iterable[str] = (of_repeated,) if call.block in repeated else call.costs
        longer = (choice.then(call, level) for level in levels for choice in choices)
        choices = _undominated((choice for choice in longer if aim.room is None or choice.peak <= aim.room), aim.price)
    plans = (_plan(costs, choice) for choice in choices)
    return (plan for plan in plans if aim.room is None or plan.peak <= aim.room)


def _undominated(choices: Iterable[_Choice], price: Callable[[_Choice], float]) -> list[_Choice]:
    """Those of which no other keeps as little at as low a price."""
    best: list[_Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.kept, price(choice), choice.seconds)):
        if not best or price(choice) < price(best[-1]):
            best.append(choice)
    if len(best) <= _MOST_CHOICES:
        return best
    step = max(1, best[-1].kept // _MOST_CHOICES)
    return best[:1] + [list(group)[-1] for _, group in groupby(best[1:], key=lambda choice: choice.kept // step)]


def _plan(costs: StepCosts, choice: _Choice) -> Plan:
    levels = {call.block: level for call, level in zip(costs.calls, choice.levels(), strict=True)}
    return Plan(levels, max(choice.peak, choice.kept + costs.tail), choice.seconds)
