"""The checkpoint plan on a model: what it does, says and gives back."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

import inarch
from inarch.engine.block_costs import FULL, NONE, SELECTIVE
from inarch.engine.checkpoint_plan import CheckpointPlan, describe
from inarch.engine.fastest_plan import Plan
from inarch.engine.feature import Declined
from inarch.engine.peak_bytes import PeakBytes, resting_bytes
from inarch.errors import ConfigError, DataError, PlanError

from checkpointing import LARGER, assert_equal, larger, step
from families import assert_same, perturb, snapshot
from sampled import one_of


def _adapted(name: str) -> tuple[nn.Module, Any]:
    model, batch = larger(name)
    perturb(inarch.attach(model, "lora"))
    return model, batch


def _half(model: nn.Module, batch: Any) -> int:
    """A budget for half of the activations that there are without checkpointing."""
    plan = CheckpointPlan("10GB")
    plan.start(model, batch)
    plan.stop(model)
    assert plan.predicted_peak is not None
    return (resting_bytes(model) + plan.predicted_peak) // 2


@pytest.mark.parametrize("name", one_of(LARGER))
def test_training_stays_in_the_budget_and_gives_the_same(name: str) -> None:
    model, batch = _adapted(name)
    model.train()
    before, reference = snapshot(model), step(model, batch)
    budget = _half(model, batch)
    plan = CheckpointPlan(budget)
    text = plan.start(model, batch)
    assert re.fullmatch(
        r"blocks [\d\-a-z, ]+; predicted peak [\d.]+ MB of [\d.]+ MB; recomputes \d+% of the forward pass", text
    )
    assert plan.plan is not None
    assert plan.predicted_peak is not None
    assert plan.predicted_peak <= budget
    assert len(set(plan.plan.levels.values())) > 1
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    with PeakBytes(torch.device("cpu")) as memory:
        model(**batch).loss.backward()
    assert memory.peak + resting_bytes(model) <= 1.05 * budget
    assert_equal(reference, step(model, batch))
    plan.stop(model)
    assert_same(before, snapshot(model))
    assert_equal(reference, step(model, batch))


def test_with_memory_enough_nothing_is_checkpointed() -> None:
    model, batch = _adapted("llama")
    plan = CheckpointPlan("10GB")
    assert re.match(r"blocks 0-5 none; .* of 10 GB; recomputes 0% of the forward pass", plan.start(model, batch))
    assert not any(getattr(block, "gradient_checkpointing", False) for block in model.modules())
    assert not model._forward_pre_hooks


def test_too_little_memory_is_refused_before_anything_is_changed() -> None:
    model, batch = _adapted("llama")
    before, generator = snapshot(model), torch.get_rng_state()
    with pytest.raises(PlanError) as refused:
        CheckpointPlan("1MB").start(model, batch)
    message = str(refused.value)
    assert re.match(r"memory is 1 MB: the leanest plan needs [\d.]+ MB, of which", message)
    for help in ("smaller batch", "shorter sequences", "quant: nf4"):
        assert help in message
    assert_same(before, snapshot(model))
    assert torch.equal(generator, torch.get_rng_state())


def test_the_least_that_is_said_suffices() -> None:
    model, batch = _adapted("llama")
    with pytest.raises(PlanError) as refused:
        CheckpointPlan(1).start(model, batch)
    (least,) = re.findall(r"needs ([\d.]+) MB", str(refused.value))
    CheckpointPlan(int(float(least) * 1.005e6)).start(model, batch)  # said in three digits
    with pytest.raises(PlanError):
        CheckpointPlan(int(float(least) * 0.99e6)).start(model, batch)


def test_without_a_budget_it_is_declined() -> None:
    model, batch = _adapted("llama")
    with pytest.raises(Declined, match="no budget"):
        CheckpointPlan().start(model, batch)


def test_a_budget_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="is no size of memory"):
        CheckpointPlan("plenty")


def test_models_without_such_blocks_are_declined() -> None:
    with pytest.raises(Declined, match="no blocks that transformers can checkpoint"):
        CheckpointPlan("1GB").start(nn.Linear(2, 2), {})
    model, batch = _adapted("llama")
    with pytest.raises(Declined, match="compiled"):
        CheckpointPlan("1GB").start(torch.compile(model), batch)


def test_a_batch_without_labels_is_refused() -> None:
    model, batch = _adapted("llama")
    before = snapshot(model)
    with pytest.raises(DataError):
        CheckpointPlan("1GB").start(model, {"input_ids": batch["input_ids"]})
    assert_same(before, snapshot(model))


@pytest.mark.thorough
def test_a_copy_is_checkpointed_and_given_back_too() -> None:
    model, batch = _adapted("llama")
    before, reference = snapshot(model)["attributes"], step(model, batch)
    plan = CheckpointPlan(_half(model, batch))
    plan.start(model, batch)
    other = copy.deepcopy(model)
    assert_equal(reference, step(other, batch))
    plan.stop(other)
    assert snapshot(other)["attributes"] == before


def test_the_models_own_checkpointing_is_given_back() -> None:
    model, batch = _adapted("llama")
    model._set_gradient_checkpointing(enable=True)
    before = {name: dict(vars(block)) for name, block in model.named_modules()}
    plan = CheckpointPlan("10GB")
    plan.start(model, batch)
    assert not any(block.gradient_checkpointing for block in model.model.layers)
    plan.stop(model)
    assert {name: dict(vars(block)) for name, block in model.named_modules()} == before


def test_a_device_too_small_to_measure_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = _adapted("llama")
    exact = CheckpointPlan("10GB")
    exact.start(model, batch)
    exact.stop(model)

    def too_small(module: nn.Module, args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].shape[0] > 1:
            raise torch.OutOfMemoryError

    handle = model.register_forward_pre_hook(too_small, with_kwargs=True)
    scaled = CheckpointPlan("10GB")
    assert scaled.start(model, batch).endswith("(measured on one row, taken 8 times)")
    handle.remove()
    assert exact.predicted_peak is not None
    assert scaled.predicted_peak == pytest.approx(exact.predicted_peak, rel=0.02)


@pytest.mark.thorough
def test_quantised_bases() -> None:
    from inarch.quant import FourBitLinear

    model, batch = larger("llama")
    full = resting_bytes(model.requires_grad_(False))
    for layer in model.model.layers:
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(layer.mlp, name, FourBitLinear.of(getattr(layer.mlp, name)))
    assert resting_bytes(model) < 0.6 * full
    perturb(inarch.attach(model, "lora"))
    reference = step(model, batch)
    plan = CheckpointPlan(_half(model, batch))
    plan.start(model, batch)
    assert_equal(reference, step(model, batch))


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ([FULL, FULL, NONE], "blocks 0-1 full, 2 none"),
        ([NONE], "block 0 none"),
        ([FULL, SELECTIVE, FULL], "blocks 0 full, 1 selective, 2 full"),
    ],
)
def test_a_plan_in_words(levels: list[str], text: str) -> None:
    assert describe(Plan({str(number): level for number, level in enumerate(levels)}, 0, 0.0)) == text
