"""The timing pass: how long a step and a forward pass take, all contenders of a task in turn in one process.

Each round times every contender once, in an order drawn anew, so that whatever else the machine does falls on all of
them alike. All of them lie in memory side by side.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from inarch import Adapter, InarchError
from inarch_benchmarks.comparison.catalogue import task
from inarch_benchmarks.comparison.cell import Cell
from inarch_benchmarks.comparison.examples import Batch
from inarch_benchmarks.comparison.run import adapted
from inarch_benchmarks.comparison.training import device_of, make_optimizer, on_device, precision
from inarch_benchmarks.comparison.watch import CONTENDED

STEPS = 3
"""Training steps and forward passes of one contender in a round; their mean is one figure."""


@dataclass
class _Timed:
    """One contender on the stand, and what was measured of it."""

    cell: Cell
    model: nn.Module
    adapter: Adapter | None
    optimizer: torch.optim.Optimizer | None
    batch: Batch
    steps: list[float] = field(default_factory=list)
    adapted: list[float] = field(default_factory=list)
    base: list[float] = field(default_factory=list)
    merged: list[float] = field(default_factory=list)
    contended: int = 0


def time_cells(cells: Sequence[Cell], rounds: int) -> dict[str, dict[str, Any]]:
    """Time contenders of one task and model against each other.

    Args:
        cells: Of one task and model.
        rounds: How often each is timed, besides a first round of warm-up.

    Returns:
        By the cell's key: seconds of a training ``step`` and of a forward pass without gradients ``adapted``,
        ``merged`` (None where the method has no merge, with the reason under ``no_merge``) and of the ``base`` alone,
        each a median with its quartiles; ``flops_step`` and ``flops_forward``; ``overhead`` and ``merged_overhead``,
        the medians of what a forward pass takes beyond the base's in the same round, as a share of it; ``contended``,
        the share of rounds with less processor time than wall time. Of a contender that cannot make a step, the reason
        alone under ``failed``.
    """
    stands: list[_Timed] = []
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        try:
            stand = _stand(cell)
            found[cell.key] = _flops(stand)
            stands.append(stand)
        except Exception as error:  # whatever a stranger's method raises; its runs have failed as well
            found[cell.key] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    dice = random.Random(0)
    for number in range(rounds + 1):
        for stand in dice.sample(stands, len(stands)):
            _round(stand)
            if number == 0:
                for times in (stand.steps, stand.adapted, stand.base):
                    times.clear()
                stand.contended = 0
    for stand in stands:
        found[stand.cell.key] |= _figures(stand, rounds) | _time_merged(stand, rounds)
    return found


def _stand(cell: Cell) -> _Timed:
    chosen = {"learning_rate": cell.learning_rate or 1e-4}
    on = task(cell.task)
    model, adapter = adapted(on, cell.base, cell.run(0, "test", chosen))
    lessons = on.lessons(cell.base, 0)
    rows = range(min(cell.recipe.batch_size // cell.recipe.accumulation or 1, len(lessons.training)))
    batch = on_device(lessons.training.batch(rows), device_of(model))
    optimizer = make_optimizer(adapter, cell.recipe, 1e-6) if adapter else None
    return _Timed(cell, model, adapter, optimizer, batch)


def _round(stand: _Timed) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    if stand.optimizer is not None:
        stand.steps.append(_mean_seconds(lambda: _step(stand)))
    stand.adapted.append(_mean_seconds(lambda: _forward(stand)))
    with stand.adapter.disabled() if stand.adapter else nullcontext():
        stand.base.append(_mean_seconds(lambda: _forward(stand)))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    stand.contended += processor < CONTENDED * wall and not torch.cuda.is_available()


def _time_merged(stand: _Timed, rounds: int) -> dict[str, Any]:
    """Forward passes with the adapter merged, and unmerged again in between, against the base in the same rounds."""
    if stand.adapter is None:
        return {}
    try:
        stand.adapter.merge()
    except InarchError as error:
        return {"merged": None, "merged_overhead": None, "no_merge": " ".join(str(error).split())}
    ratios = []
    for number in range(rounds + 1):
        merged = _mean_seconds(lambda: _forward(stand))
        stand.adapter.unmerge()
        with stand.adapter.disabled():
            base = _mean_seconds(lambda: _forward(stand))
        stand.adapter.merge()
        if number:
            stand.merged.append(merged)
            ratios.append(merged / base - 1)
    stand.adapter.unmerge()
    return {"merged": _spread(stand.merged), "merged_overhead": round(median(ratios), 4)}


def _step(stand: _Timed) -> None:
    assert stand.optimizer is not None
    stand.model.train()
    with precision(stand.cell.recipe, device_of(stand.model)):
        loss = stand.model(**stand.batch).loss
    loss.backward()
    stand.optimizer.step()
    stand.optimizer.zero_grad(set_to_none=True)


def _forward(stand: _Timed) -> None:
    stand.model.eval()
    with torch.no_grad(), precision(stand.cell.recipe, device_of(stand.model)):
        stand.model(**stand.batch)


def _flops(stand: _Timed) -> dict[str, Any]:
    """Floating-point operations as torch counts them; None for what it cannot count."""
    counted: dict[str, Any] = {}
    for name, work in (("flops_forward", _forward), ("flops_step", _step)):
        if work is _step and stand.optimizer is None:
            continue
        with FlopCounterMode(display=False) as counter:
            work(stand)
        counted[name] = counter.get_total_flops()
    return counted


def _mean_seconds(work: Callable[[], None]) -> float:
    _wait()
    started = time.perf_counter()
    for _ in range(STEPS):
        work()
    _wait()
    return (time.perf_counter() - started) / STEPS


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _figures(stand: _Timed, rounds: int) -> dict[str, Any]:
    ratios = [adapted / base - 1 for adapted, base in zip(stand.adapted, stand.base, strict=True)]
    return {
        "step": _spread(stand.steps) if stand.steps else None,
        "adapted": _spread(stand.adapted),
        "base": _spread(stand.base),
        "overhead": round(median(ratios), 4),
        "contended": round(stand.contended / rounds, 3),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    return {"median": round(float(middle), 7), "low": round(float(low), 7), "high": round(float(high), 7)}
