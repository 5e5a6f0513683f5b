"""The memory stage: the least that training takes, a model that only just fits, and the longest context."""

from typing import Any

import torch

from inarch.engine.memory_size import memory_size

from .build import batch
from .cell import Cell
from .scale import Scale
from .shapes import SHAPES
from .timing import forget_peaks, peaks, run_steps
from .training import contender
from .worker import Context, Outcome

LEAN = ("Inarch, at Unsloth's memory", "Inarch, same checkpointing", "Unsloth", "peft + bitsandbytes")
"""Whose memory is compared; the first is Inarch with a budget of memory, here one of its own."""

GOAL = "7GB"
"""What the 8B shape is to train within."""

FINEST = 512
"""Tokens that the search for the longest context ends at."""


def cells(scale: Scale) -> list[Cell]:
    """All of them, each in a process of its own, since each limits its process."""
    one = (scale.grid[0][0], 1)
    found = [
        _cell(f"{scale.main}/{one[0]}x1/{f'Inarch within {GOAL}' if name == LEAN[0] else name}", shape=scale.main,
              contender=name, size=one, rank=scale.rank, memory=GOAL)
        for name in LEAN
    ]  # fmt: skip
    found.append(
        _cell(f"{scale.large}/{one[0]}x1/Inarch within {scale.large_memory}", shape=scale.large, contender=LEAN[0],
              size=one, rank=scale.rank, memory=scale.large_memory, limit=scale.large_memory)
    )  # fmt: skip
    for name in (LEAN[0], "Unsloth"):
        who = "Inarch" if name == LEAN[0] else name
        found.append(
            _cell(f"{scale.main}/longest context within {scale.context_memory}/{who}", shape=scale.main,
                  contender=name, rank=scale.context_rank, memory=scale.context_memory, limit=scale.context_memory)
        )  # fmt: skip
    return found


def _cell(name: str, **settings: Any) -> Cell:
    return Cell("memory", name, settings, name)


def measure(settings: dict[str, Any], context: Context) -> Outcome:
    """One of them."""
    return _steps(settings, context) if "size" in settings else _longest(settings, context)


def _limit(settings: dict[str, Any], context: Context) -> None:
    """Let torch have no more memory than the cell says: from now on, since a block is built in more bits."""
    if "limit" in settings and context.device.type == "cuda":
        forget_peaks(context.device)
        total = torch.cuda.get_device_properties(context.device).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_size(settings["limit"]).on(context.device) / total)


def _steps(settings: dict[str, Any], context: Context) -> Outcome:
    sequence, rows = settings["size"]
    subject = contender(settings, context, settings["rank"], sequence)
    built = peaks(context.device)
    _limit(settings, context)
    example = batch(subject.task.shape, rows, sequence, context.device)
    report = subject.start(example)
    started = peaks(context.device)
    try:
        found = run_steps(subject, example, 1, max(2, context.scale.steps // 5))
    finally:
        subject.stop()
    return {"report": report, "peak_while_built": built, "peak_until_started": started, **found}


def _longest(settings: dict[str, Any], context: Context) -> Outcome:
    """The longest sequence of which two steps go through: twice as long, until one does not, then halving between."""
    tried: list[Outcome] = []
    limit = int(SHAPES[settings["shape"]].others["max_position_embeddings"])
    least, most = 0, None
    sequence = context.scale.context
    while (most is None or most - least > max(FINEST, least // 64)) and sequence <= limit:
        outcome = _fits(settings, context, sequence, limit)
        tried.append({"sequence": sequence, **outcome})
        if outcome["fits"]:
            least = sequence
        else:
            most = sequence
        sequence = _rounded(least * 1.25 if most is None else (least + most) / 2)
        if context.device.type == "cpu":
            break
    return {"longest": least, "tried": tried}


def _rounded(sequence: float) -> int:
    return int(sequence) // 64 * 64


def _fits(settings: dict[str, Any], context: Context, sequence: int, longest: int) -> Outcome:
    forget_peaks(context.device)
    reason = ""
    try:
        subject = contender(settings, context, settings["rank"], longest)
        _limit(settings, context)
        example = batch(subject.task.shape, 1, sequence, context.device)
        try:
            report = subject.start(example)
            found = run_steps(subject, example, 1, 2)
        finally:
            subject.stop()
        return {"fits": True, "report": report, "peak": found["peak"], "tokens_per_second": found["tokens_per_second"]}
    except (torch.OutOfMemoryError, ValueError) as error:  # an InarchError too says that nothing fits
        reason = str(error)[:500]
    context.kept.clear()
    forget_peaks(context.device)
    return {"fits": False, "reason": reason}
