"""The training stage: tokens a second, memory and parity of every contender on a grid of batches."""

import gc
from typing import Any

from . import parity
from .breakdown import breakdown
from .build import batch
from .cell import Cell
from .contenders import CONTENDERS, Contender, Task
from .scale import Scale, Size
from .shapes import SHAPES
from .timing import run_steps, synchronise
from .worker import Context, Outcome

OTHER_SHAPES = ("peft + bitsandbytes", "Unsloth", "Inarch, same checkpointing", "Inarch, memory to spare")
"""Who is measured on the other shapes too."""

IN_BFLOAT16, PUBLISHED_SIZE = "Inarch, bf16 base", (4096, 2)
"""For the published 12,473 tokens a second of LoRA on one H100 (NVIDIA NeMo Automodel: Llama-3-8B, bf16, rank 16)."""

UNSLOTH_S_MEMORY = "Inarch, at Unsloth's memory"


def cells(scale: Scale) -> list[Cell]:
    """The first batch of the grid with everyone, then the others with everyone, then other shapes."""
    first, *others = scale.grid
    in_four_bits = [name for name in CONTENDERS if name != IN_BFLOAT16]
    found = [cell(scale, scale.main, first, name, "first") for name in in_four_bits]
    for name in in_four_bits:
        found += [cell(scale, scale.main, size, name, "others") for size in others]
    found.append(
        cell(scale, scale.main, PUBLISHED_SIZE if PUBLISHED_SIZE in others else first, IN_BFLOAT16, "bfloat16")
    )
    for shape in dict.fromkeys((scale.other, scale.small)):
        if shape != scale.main:
            found += [cell(scale, shape, first, name, shape) for name in OTHER_SHAPES]
    return found


def cell(scale: Scale, shape: str, size: Size, contender: str, group: str) -> Cell:
    """One contender on one batch."""
    settings: dict[str, Any] = {"shape": shape, "size": size, "contender": contender, "whole": group == "first"}
    if contender == UNSLOTH_S_MEMORY:
        settings["memory_of"] = named(shape, size, "Unsloth")
    return Cell("training", named(shape, size, contender), settings, f"{group} {contender}")


def named(shape: str, size: Size, contender: str) -> str:
    """What results call a contender on a batch."""
    return f"{shape}/{size[0]}x{size[1]}/{contender}"


def contender(settings: dict[str, Any], context: Context, rank: int, sequence: int) -> Contender:
    """The contender of a cell, which the cells of one process share."""
    key = f"{settings['contender']} {settings['shape']} {rank}"
    if key not in context.kept:
        context.kept.clear()
        gc.collect()  # the model before it, whose parts refer to one another
        task = Task(SHAPES[settings["shape"]], rank, context.device, sequence, context.scratch)
        context.kept[key] = CONTENDERS[settings["contender"]](task)
    found: Contender = context.kept[key]
    found.settings = settings
    return found


def measure(settings: dict[str, Any], context: Context) -> Outcome:
    """One contender on one batch."""
    scale = context.scale
    sequence, rows = settings["size"]
    longest = max(size[0] for size in scale.grid)
    subject = contender(settings, context, scale.rank, longest)
    example = batch(subject.task.shape, rows, sequence, context.device)
    found: Outcome = {}
    found["report"] = subject.start(example)
    try:
        if settings["whole"]:
            found["parity"] = _parity(subject, scale, context)
        found |= run_steps(subject, example, scale.warm_up, scale.steps)
        if settings["whole"]:
            named_sizes = {"rank": scale.rank, "vocabulary": subject.task.shape.vocabulary}

            def step() -> None:
                subject.step(example)
                synchronise(context.device)

            found["breakdown"] = breakdown(step, named_sizes, context.device)
    finally:
        subject.stop()
    return found | _rates(found["tokens_per_second"], subject, sequence, scale.rank, settings.get("matrix_flops"))


def _parity(subject: Contender, scale: Scale, context: Context) -> Outcome:
    found, gradients = parity.measure(subject, scale.parity, scale.overfit)
    parity.again(subject)
    reference = context.scratch / "parity.pt"
    if subject.name == "peft + bitsandbytes":
        parity.keep(found, gradients, reference)
    return parity.compared(found, gradients, reference)


def _rates(tokens_per_second: float, subject: Contender, sequence: int, rank: int, matrix: float | None) -> Outcome:
    """Operations a second, and the shares of what the machine's matrix product reaches.

    ``mfu`` counts what a step needs, ``hfu`` what was computed: the forward pass of checkpointed blocks twice.
    """
    needed = subject.task.shape.flops(sequence, rank)
    done = subject.task.shape.flops(sequence, rank, recomputed=subject.checkpointed)
    found: Outcome = {"flops_per_token": needed}
    if matrix:
        found |= {"mfu": tokens_per_second * needed / matrix, "hfu": tokens_per_second * done / matrix}
        found["floor_tokens_per_second"] = matrix / done
    return found
