"""What one flat buffer for all adapter parameters would gain: ``python -m inarch_benchmarks.optimizer``.

An AdamW step with clipping, over the matrices of LoRA of rank 16 on the linear maps of a shape of 32 blocks of width
2048, and over one flat tensor of as many elements. ``launch-bound`` is the same over tensors of one element, which is
what depends on their number alone. The figures go to ``benchmarks/results/optimizer.json``.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import nn

from .side_by_side import again, alternate, command, quartiles

RESULTS = Path(__file__).parent / "results" / "optimizer.json"
RANK, BLOCKS = 16, 32
WIDTH, OF_KEYS, INNER = 2048, 512, 8192
MAPS = [(WIDTH, WIDTH), (WIDTH, OF_KEYS), (WIDTH, OF_KEYS), (WIDTH, WIDTH), *2 * [(WIDTH, INNER)], (INNER, WIDTH)]
SHAPES = [shape for _ in range(BLOCKS) for inputs, outputs in MAPS for shape in ((RANK, inputs), (outputs, RANK))]
IMPLEMENTATIONS: dict[str, dict[str, bool]] = {"fused": {"fused": True}, "foreach": {"foreach": True}}


def measured(repeats: int) -> dict[str, Any]:
    """The results of both implementations."""
    flat = [(sum(rows * columns for rows, columns in SHAPES),)]
    return {
        "tensors": len(SHAPES),
        "elements": flat[0][0],
        "results": {name: _compared(settings, flat, repeats) for name, settings in IMPLEMENTATIONS.items()},
    }


def _compared(settings: dict[str, bool], flat: Sequence[tuple[int, ...]], repeats: int) -> dict[str, Any]:
    steps = {
        "many": _step(SHAPES, settings),
        "flat": _step(flat, settings),
        "launch-bound, many": _step([(1,)] * len(SHAPES), settings),
        "launch-bound, flat": _step([(1,)], settings),
    }
    seconds = alternate({name: again(step) for name, step in steps.items()}, repeats)
    medians = {name: statistics.median(spent) for name, spent in seconds.items()}
    return {
        "milliseconds": {name: quartiles(spent) for name, spent in seconds.items()},
        "gain": medians["many"] / medians["flat"],
    }


def _step(shapes: Sequence[tuple[int, ...]], settings: dict[str, bool]) -> Callable[[], None]:
    parameters = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, **settings)  # type: ignore[arg-type]

    def step() -> None:
        nn.utils.clip_grad_norm_(parameters, 1e9)
        optimizer.step()

    return step


def table(document: dict[str, Any]) -> Table:
    """The results as a table."""
    title = f"AdamW with clipping, {document['elements']:,} elements, milliseconds"
    drawn = Table("", f"{document['tensors']} tensors", "one flat tensor", "gain", title=title)
    for name, row in document["results"].items():
        medians = [f"{row['milliseconds'][key][1]:.1f}" for key in ("many", "flat")]
        drawn.add_row(name, *medians, f"{row['gain']:.2f}x")
    return drawn


if __name__ == "__main__":
    command(__doc__, RESULTS, 15, measured, table)
