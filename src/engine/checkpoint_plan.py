"""The checkpoint plan: what each block keeps for its backward pass, so that training is fastest within a budget."""

from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import PlanError
from .activations import keep_attention, keep_input
from .block_costs import FULL, NONE, OFFLOAD, SELECTIVE, StepCosts, measure_costs
from .checkpoint_hook import Before, checkpoint_by, checkpointed_blocks, restore, use_cache_again, use_no_cache
from .fastest_plan import Plan, fastest_plan, leanest_plan
from .feature import Declined, Feature
from .memory_size import memory_size, readable
from .offload import Offload
from .peak_bytes import resting_bytes, storage_bytes
from .probe import reproducible, untouched


class CheckpointPlan(Feature):
    """Chooses for each block, by measured bytes and seconds, what it keeps for its backward pass.

        none        everything
        selective   its input, and the outputs of its attention
        full        its input
        offload     its input, in host memory; on a GPU

    The plan holds for batches no larger than the example, in the precision in which it was measured: start it within
    ``torch.autocast`` where training is. It counts gradients and the state of AdamW as there from the beginning, and
    counts the memory of tensors: not what a GPU's context and its allocator's gaps take.

    Args:
        memory: How much memory training may take, as ``memory_size`` reads it; ``None`` changes nothing.
    """

    name = "checkpoint plan"
    needs_whole_batch = True

    def __init__(self, memory: int | str | None = None) -> None:
        self._memory = None if memory is None else memory_size(memory)
        self._before: dict[str, Before] = {}
        self.plan: Plan | None = None
        self.predicted_peak: int | None = None

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        """Plan, and checkpoint the blocks.

        Raises:
            PlanError: No plan fits into the memory.
        """
        if self._memory is None:
            raise Declined("no budget of memory was given")
        blocks, device = _blocks(model), _device(model)
        budget = _usable(self._memory.on(device), device)
        costs, note = _costs(model, blocks, batch)
        if not costs.calls:
            raise Declined("the model does not call its blocks in the way that transformers checkpoints them")
        resting = _resting(model, batch, device)
        plan = fastest_plan(costs, budget - resting)
        if plan is None:
            raise PlanError(_too_little(budget, resting, leanest_plan(costs).peak))
        self.plan, self.predicted_peak = plan, resting + plan.peak
        self._apply(model, blocks, plan)
        share = plan.seconds / max(sum(call.seconds for call in costs.calls), 1e-9)
        return (
            f"{describe(plan)}; predicted peak {readable(self.predicted_peak)} of {readable(budget)}; "
            f"recomputes {share:.0%} of the forward pass{note}"
        )

    def stop(self, model: nn.Module) -> None:
        """Give the blocks their own checkpointing back."""
        for name, before in self._before.items():
            restore(model.get_submodule(name), before)
        use_cache_again(model)
        self._before.clear()

    def _apply(self, model: nn.Module, blocks: Mapping[str, nn.Module], plan: Plan) -> None:
        functions: dict[str, Callable[..., Any] | None] = {
            NONE: None,
            SELECTIVE: keep_attention,
            FULL: keep_input,
            OFFLOAD: Offload().keep_input,
        }
        for name, level in plan.levels.items():
            self._before[name] = checkpoint_by(blocks[name], functions[level])
        if set(plan.levels.values()) != {NONE}:
            use_no_cache(model)


def describe(plan: Plan) -> str:
    """A plan in words: ``blocks 0-11 full, 12-31 none``."""
    numbered = enumerate(plan.levels.values())
    runs = [(level, [number for number, _ in run]) for level, run in groupby(numbered, key=lambda pair: pair[1])]
    ranges = [f"{run[0]}-{run[-1]} {level}" if len(run) > 1 else f"{run[0]} {level}" for level, run in runs]
    return f"block{'s' if len(plan.levels) > 1 else ''} {', '.join(ranges)}"


def _blocks(model: nn.Module) -> dict[str, nn.Module]:
    if isinstance(model, torch._dynamo.OptimizedModule):
        raise Declined("the model is compiled: the compiler decides what is kept")
    found = checkpointed_blocks(model)
    if not found:
        raise Declined("the model has no blocks that transformers can checkpoint")
    return found


def _device(model: nn.Module) -> torch.device:
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) > 1:
        raise Declined("the model lies on several devices")
    return devices.pop()


def _usable(budget: int, device: torch.device) -> int:
    """The budget, or what other processes leave of the device."""
    if device.type != "cuda":
        return budget
    free, _ = torch.cuda.mem_get_info(device)
    return min(budget, free + torch.cuda.memory_reserved(device))


def _resting(model: nn.Module, batch: Mapping[str, Any], device: torch.device) -> int:
    """What is there between two steps; on a GPU no less than what is there now."""
    tensors = [value for value in batch.values() if isinstance(value, Tensor)]
    now = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    return max(now, resting_bytes(model) + storage_bytes(tensors))


def _costs(model: nn.Module, blocks: Mapping[str, nn.Module], batch: Mapping[str, Any]) -> tuple[StepCosts, str]:
    """What a step on the batch costs, and a remark on how that was found.

    Measured on one row where the device's memory does not suffice for the batch, so that it can be said what would.
    """
    use_no_cache(model)
    try:
        with untouched(model), reproducible():
            try:
                return measure_costs(model, blocks, batch), ""
            except torch.OutOfMemoryError:
                pass  # whose traceback holds what was computed
            rows, row = _one_row(batch)
            return measure_costs(model, blocks, row).times(rows), f" (measured on one row, taken {rows} times)"
    finally:
        use_cache_again(model)


def _one_row(batch: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    rows = max(value.shape[0] for value in batch.values() if isinstance(value, Tensor) and value.dim())
    row = {
        name: value[:1] if isinstance(value, Tensor) and value.dim() and value.shape[0] == rows else value
        for name, value in batch.items()
    }
    return rows, row


def _too_little(budget: int, resting: int, least: int) -> str:
    return (
        f"memory is {readable(budget)}: the leanest plan needs {readable(resting + least)}, of which "
        f"{readable(resting)} are the weights and what trains them, and {readable(least)} the activations of a batch. "
        "Give more memory, a smaller batch (training.per_device_train_batch_size), shorter sequences "
        "(data.max_length), or store the weights in fewer bits (quant: nf4)."
    )
