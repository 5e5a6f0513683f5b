"""Measured costs, held against what training steps really take."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.engine.activations import keep_attention, keep_input
from inarch.engine.block_costs import FULL, NONE, SELECTIVE, Call, Cost, StepCosts, measure_costs
from inarch.engine.checkpoint_hook import checkpoint_by, checkpointed_blocks, restore, use_cache_again, use_no_cache
from inarch.engine.fastest_plan import Plan, fastest_plan, leanest_plan, uniform_plan
from inarch.engine.peak_bytes import PeakBytes
from inarch.errors import DataError

from checkpointing import LARGER, larger
from families import assert_same, snapshot
from sampled import one_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers.modeling_layers import GradientCheckpointingLayer

CPU = torch.device("cpu")
FUNCTIONS: dict[str, Any] = {NONE: None, SELECTIVE: keep_attention, FULL: keep_input}


def _measured(model: nn.Module, batch: Any) -> StepCosts:
    model.train()
    use_no_cache(model)
    costs = measure_costs(model, checkpointed_blocks(model), batch)
    use_cache_again(model)
    return costs


def _true_peak(model: nn.Module, batch: Any, plan: Plan) -> int:
    """Of a training step whose gradients lie in memory that is there already."""
    blocks = checkpointed_blocks(model)
    before = {name: checkpoint_by(blocks[name], FUNCTIONS[level]) for name, level in plan.levels.items()}
    use_no_cache(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    with PeakBytes(CPU) as memory:
        model(**batch).loss.backward()
    use_cache_again(model)
    for name, attributes in before.items():
        restore(blocks[name], attributes)
    return memory.peak


CASES = [
    *((name, adapted, torch.float32) for name in LARGER for adapted in (True, False)),
    ("llama", True, torch.bfloat16),
]


@pytest.mark.parametrize(("name", "adapted", "dtype"), one_of(CASES))
def test_the_predicted_peak_is_that_of_a_step(name: str, adapted: bool, dtype: torch.dtype) -> None:
    model, batch = larger(name)
    model.to(dtype)
    if adapted:
        inarch.attach(model, "lora")
    costs = _measured(model, batch)
    everything, leanest = uniform_plan(costs, NONE), leanest_plan(costs)
    between = fastest_plan(costs, (everything.peak + leanest.peak) // 2)
    assert between is not None
    assert leanest.peak <= between.peak <= (everything.peak + leanest.peak) // 2 < everything.peak
    for plan in (everything, uniform_plan(costs, SELECTIVE), uniform_plan(costs, FULL), leanest, between):
        assert plan.peak == pytest.approx(_true_peak(model, batch, plan), rel=0.05), plan


def test_levels_differ_in_bytes_and_seconds() -> None:
    model, batch = larger("llama")
    inarch.attach(model, "lora")
    calls = _measured(model, batch).calls
    assert [call.block for call in calls] == [f"model.layers.{number}" for number in range(6)]
    for call in calls:
        none, selective, full = (call.costs[level] for level in (NONE, SELECTIVE, FULL))
        assert none.kept > selective.kept > full.kept
        assert none.seconds == 0.0 < full.seconds
        assert call.seconds > 0.0
    assert len({call.seconds for call in calls}) == 1  # they are alike


def test_a_block_keeps_its_input_when_it_is_fully_checkpointed() -> None:
    model, batch = larger("llama")
    inarch.attach(model, "lora")
    hidden = 8 * 48 * 64 * 4
    for call in _measured(model, batch).calls:
        assert hidden <= call.costs[FULL].kept < hidden + 64


def test_attention_in_several_steps_cannot_be_kept() -> None:
    model, batch = larger("llama")
    model.set_attn_implementation("eager")
    assert all(SELECTIVE not in call.costs for call in _measured(model, batch).calls)
    model, batch = larger("gpt2")  # whose attention has dropout
    assert all(SELECTIVE not in call.costs for call in _measured(model, batch).calls)


def test_measuring_leaves_nothing_behind() -> None:
    model, batch = larger("mixtral")
    inarch.attach(model, "lora")
    model.train()
    before = snapshot(model)
    _measured(model, batch)
    assert_same(before, snapshot(model))
    assert all(parameter.grad is None and not parameter._backward_hooks for parameter in model.parameters())


def test_measuring_takes_no_more_than_the_leanest_plan() -> None:
    """But for one copy of the hidden states."""
    model, batch = larger("llama")
    inarch.attach(model, "lora")
    leanest = leanest_plan(_measured(model, batch))
    with PeakBytes(CPU) as memory:
        _measured(model, batch)
    assert memory.peak <= leanest.peak + 8 * 48 * 64 * 4


def test_rows_are_scaled() -> None:
    costs = StepCosts((Call("0", None, 1, 2, {FULL: Cost(3, 4, 5.0)}, 6.0),), tail=7)
    assert costs.times(3) == StepCosts((Call("0", None, 3, 6, {FULL: Cost(9, 12, 15.0)}, 18.0),), tail=21)


def test_a_batch_without_labels_is_refused() -> None:
    model, batch = larger("llama")
    del batch["labels"]
    with pytest.raises(DataError, match="Give a batch with labels"):
        _measured(model, batch)
    assert not any("gradient_checkpointing" in vars(block) for block in checkpointed_blocks(model).values())


class _Shared(GradientCheckpointingLayer):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(nn.functional.gelu(self.up(x)))


class _Looped(nn.Module):
    """One block, called four times."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.block = nn.Embedding(10, 64), _Shared()

    def forward(self, ids: Tensor) -> SimpleNamespace:
        x = self.embedding(ids)
        for _ in range(4):
            x = self.block(x)
        return SimpleNamespace(loss=x.square().mean())


def test_a_block_that_is_called_again_and_again() -> None:
    model, batch = _Looped(), {"ids": torch.arange(10).repeat(8, 5)}
    costs = _measured(model, batch)
    assert [call.block for call in costs.calls] == ["block"] * 4
    for level in (NONE, FULL):
        plan = uniform_plan(costs, level)
        assert plan.levels == {"block": level}
        assert plan.peak == pytest.approx(_true_peak(model, batch, plan), rel=0.05)
