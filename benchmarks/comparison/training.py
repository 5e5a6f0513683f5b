"""Training one adapter: the same batches in the same order for every method at one seed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from math import cos, isfinite, pi
from typing import Any

import torch
from torch import nn

from inarch import Adapter
from inarch_benchmarks.comparison.examples import Batch, Examples
from inarch_benchmarks.comparison.memory import StepMemory
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.unfinished import Unfinished

POINTS = 20
"""How often the training loss is written down."""


class DivergedError(Exception):
    """The training loss is not finite."""


@dataclass(frozen=True)
class Point:
    """One point of the learning curve.

    Attributes:
        step: Steps done.
        loss: Mean training loss since the point before.
        seconds: Time a step since then.
    """

    step: int
    loss: float
    seconds: float


def train(
    model: nn.Module,
    adapter: Adapter,
    examples: Examples,
    recipe: Recipe,
    learning_rate: float,
    seed: int,
    memory: StepMemory,
    on_point: Callable[[Point], None],
    unfinished: Unfinished,
    notes: Callable[[], dict[str, Any]],
) -> None:
    """Train what an adapter trains, in place; the model is in evaluation mode afterwards.

    Args:
        model: With the adapter.
        adapter: What is trained.
        examples: For training.
        recipe: With its number of steps.
        learning_rate: The highest of the schedule.
        seed: Of the order of the examples and of dropout.
        memory: Told of the steps; it counts bytes in the first.
        on_point: Called at each point of the curve, with the model in evaluation mode.
        unfinished: Where it goes on from, and keeps how far it is.
        notes: What is to be kept with that.

    Raises:
        DivergedError: The loss is not finite; noticed at the next point of the curve.
    """
    steps = recipe.steps or 0
    if steps == 0:
        return
    unfinished.restore_adapter(adapter)
    trained = list(adapter.parameters())
    optimizer = make_optimizer(adapter, recipe, learning_rate)
    scheduler = make_scheduler(optimizer, recipe)
    place = device_of(model)
    torch.manual_seed(seed)
    unfinished.restore_training(optimizer, scheduler)
    model.train()
    losses: list[torch.Tensor] = []
    started = time.perf_counter()
    batches = enumerate(order(len(examples), recipe, seed), start=1)
    for step, rows in islice(batches, unfinished.steps, None):
        with memory.step(model, optimizer):
            losses.append(_step(model, examples, rows, recipe, place))
            nn.utils.clip_grad_norm_(trained, recipe.max_grad_norm)
            optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        if step == steps or step * POINTS // steps > (step - 1) * POINTS // steps:
            loss = float(torch.stack(losses).mean())
            if not isfinite(loss):
                raise DivergedError(f"The training loss was {loss} by step {step} of {steps}.")
            point = Point(step, loss, (time.perf_counter() - started) / len(losses))
            model.eval()
            on_point(point)
            if unfinished.due and step < steps:
                unfinished.keep(step, adapter, optimizer, scheduler, notes())
            model.train()
            losses.clear()
            started = time.perf_counter()
    model.eval()


def make_optimizer(adapter: Adapter, recipe: Recipe, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW, with the learning rates that the method gives its tensors."""
    return torch.optim.AdamW(adapter.parameter_groups(learning_rate), weight_decay=recipe.weight_decay, fused=True)


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LambdaLR:
    """The recipe's schedule: the same as transformers' of that name, whose import takes seconds in every worker."""
    steps = recipe.steps or 0
    warmup = round(recipe.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        passed = (step - warmup) / max(1, steps - warmup)
        return max(0.0, {"linear": 1 - passed, "cosine": (1 + cos(pi * passed)) / 2, "constant": 1.0}[recipe.schedule])

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def order(rows: int, recipe: Recipe, seed: int) -> Iterator[Sequence[int]]:
    """The rows of each batch: all of them once in some order, then again in another, decided by the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    wanted = (recipe.steps or 0) * recipe.batch_size
    whole = torch.cat([torch.randperm(rows, generator=generator) for _ in range(-(-wanted // rows))])[:wanted]
    return (batch.tolist() for batch in whole.split(recipe.batch_size))


def on_device(batch: Batch, place: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    return {name: value.to(place) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


def precision(recipe: Recipe, place: torch.device) -> Any:
    """A context in which the model computes in the recipe's precision."""
    if recipe.precision == "float32":
        return nullcontext()
    return torch.autocast(place.type, torch.bfloat16)


def _step(
    model: nn.Module, examples: Examples, rows: Sequence[int], recipe: Recipe, place: torch.device
) -> torch.Tensor:
    """Forward and backward pass of one batch, part by part; the mean loss of its rows."""
    total = torch.zeros((), device=place)
    size = -(-len(rows) // recipe.accumulation)
    for part in (rows[start : start + size] for start in range(0, len(rows), size)):
        with precision(recipe, place):
            loss = model(**on_device(examples.batch(part), place)).loss * (len(part) / len(rows))
        loss.backward()
        total += loss.detach()
    return total
