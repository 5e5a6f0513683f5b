"""The fastest plan in a budget, held against all plans there are."""

import itertools
import random
from typing import Any

import pytest

from inarch.engine import fastest_plan as module
from inarch.engine.block_costs import FULL, NONE, OFFLOAD, SELECTIVE, Call, Cost, StepCosts
from inarch.engine.fastest_plan import Plan, fastest_plan, leanest_plan, plan_of, uniform_plan

LEVELS = (NONE, SELECTIVE, FULL, OFFLOAD)


def _costs(seed: int, *, alike: bool = False, repeated: bool = False) -> StepCosts:
    """Up to six blocks with costs at random, as a step has them: the less is kept, the more is computed again."""
    draw = random.Random(seed)
    count = draw.randint(1, 6)
    kinds = [_levels(draw) for _ in range(count)]
    calls = [
        Call(
            block=f"block {number % 3 if repeated else number}",
            kind=None,
            before=draw.randint(0, 30),
            around=draw.randint(0, 10),
            costs=kinds[0 if alike else number],
        )
        for number in range(count)
    ]
    return StepCosts(tuple(calls), tail=draw.randint(0, 120))


def _levels(draw: random.Random) -> dict[str, Cost]:
    kept = sorted((draw.randint(0, 60) for _ in LEVELS), reverse=True)
    seconds = sorted(draw.choice([1, 2, 3, 5, 8]) for _ in LEVELS)
    costs = {
        level: Cost(each, each + draw.randint(0, 50), 0 if level == NONE else time)
        for level, each, time in zip(LEVELS, kept, seconds, strict=True)
    }
    for level in draw.sample(LEVELS[1::2], draw.randint(0, 2)):
        del costs[level]
    return costs


def _every_plan(costs: StepCosts) -> list[tuple[float, int]]:
    """Seconds and peak of each plan, by simulating the step."""
    names = list(dict.fromkeys(call.block for call in costs.calls))
    repeated = {name for name in names if sum(call.block == name for call in costs.calls) > 1}
    found = []
    for levels in itertools.product(LEVELS, repeat=len(names)):
        chosen = dict(zip(names, levels, strict=True))
        if any(chosen[call.block] not in call.costs for call in costs.calls):
            continue
        if len({chosen[name] for name in repeated}) > 1:
            continue
        each = [call.costs[chosen[call.block]] for call in costs.calls]
        moments = [sum(cost.kept for cost in each) + costs.tail]
        for number, call in enumerate(costs.calls):
            standing = sum(cost.kept for cost in each[:number])
            moments += [standing + call.before, standing + call.around + each[number].peak]
        found.append((sum(cost.seconds for cost in each), max(moments)))
    return found


@pytest.mark.parametrize("shape", [{}, {"alike": True}, {"repeated": True}])
def test_no_plan_is_faster(shape: dict[str, Any]) -> None:
    for seed in range(60):
        costs = _costs(seed, **shape)
        every = _every_plan(costs)
        peaks = sorted({peak for _, peak in every})
        for room in (peaks[0] - 1, *peaks, peaks[-1] + 1000):
            fitting = [plan for plan in every if plan[1] <= room]
            found = fastest_plan(costs, room)
            if not fitting:
                assert found is None
                continue
            assert found is not None
            assert found.seconds == min(seconds for seconds, _ in fitting)
            assert found.peak <= room
            assert found == plan_of(costs, found.levels)


@pytest.mark.parametrize("shape", [{}, {"alike": True}, {"repeated": True}])
def test_no_plan_is_leaner(shape: dict[str, Any]) -> None:
    for seed in range(100):
        costs = _costs(seed, **shape)
        leanest = leanest_plan(costs)
        assert leanest.peak == min(peak for _, peak in _every_plan(costs))
        assert leanest == plan_of(costs, leanest.levels)


def _stack(blocks: int) -> StepCosts:
    costs = {NONE: Cost(100, 130), FULL: Cost(10, 140, 1.0)}
    return StepCosts(tuple(Call(str(number), None, 0, 0, costs) for number in range(blocks)), tail=50)


def test_the_last_blocks_keep_everything() -> None:
    """What they keep is freed before the first ones are computed again."""
    plan = fastest_plan(_stack(10), 10 * 10 + 2 * 90 + 50)
    assert plan is not None
    assert list(plan.levels.values()) == [FULL] * 8 + [NONE] * 2


def test_with_room_for_everything_nothing_is_computed_again() -> None:
    costs = _stack(10)
    assert fastest_plan(costs, 10**6) == uniform_plan(costs, NONE) == Plan({str(n): NONE for n in range(10)}, 1050, 0.0)


def test_a_level_that_a_block_does_not_have_is_full() -> None:
    assert set(uniform_plan(_stack(3), SELECTIVE).levels.values()) == {FULL}


def test_many_unlike_blocks_are_planned_near_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    calls = []
    for number in range(40):
        kept, seconds = draw.randint(10**8, 10**9), draw.uniform(1, 2)
        costs = {NONE: Cost(kept, kept), FULL: Cost(kept // 20, kept, seconds)}
        calls.append(Call(str(number), None, 0, 0, costs))
    costs = StepCosts(tuple(calls), tail=0)
    room = uniform_plan(costs, NONE).peak // 2
    fine = fastest_plan(costs, room)
    monkeypatch.setattr(module, "_MOST_CHOICES", 256)
    coarse = fastest_plan(costs, room)
    assert fine is not None
    assert coarse is not None
    assert max(fine.peak, coarse.peak) <= room
    assert fine.seconds <= coarse.seconds <= 1.02 * fine.seconds
    assert fastest_plan(costs, leanest_plan(costs).peak) is not None
