"""Runs the stages on the GPU machine: ``python -m inarch_benchmarks.gpu``; see README.md beside this."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console

from . import correctness, decoding, features, memory, training
from .cell import Cell, Results, facts
from .scale import MEASURED, REHEARSED
from .worker import Context, Outcome, run, run_apart

STAGES: dict[str, ModuleType] = {
    "correctness": correctness,
    "training": training,
    "memory": memory,
    "features": features,
    "decoding": decoding,
}
"""In the order of their importance."""

SUFFICIENT = 15.0
"""Seconds under which no further process is begun."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages that the command line names."""
    options = _parser().parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.earlier:
        for file in options.earlier.glob("gpu_*.json"):
            shutil.copy(file, options.output / file.name)
    scale = REHEARSED if options.rehearse else MEASURED
    if scale.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: to try the benchmarks on a CPU, add --rehearse --output FOLDER.")
    torch.set_num_threads(1 if options.rehearse else torch.get_num_threads())
    until = time.time() + options.budget
    with tempfile.TemporaryDirectory(prefix="inarch-gpu-") as scratch:
        context = Context(scale, Path(scratch))
        begin = _facts(context, options.in_process, until)
        for name in options.stages or list(STAGES):
            _stage(name, context, begin, until, options)


def _stage(name: str, context: Context, begin: dict[str, Any], until: float, options: argparse.Namespace) -> None:
    console = Console(soft_wrap=True, highlight=False)
    results = Results(options.output, name, rehearsed=options.rehearse)
    wanted = [
        cell for cell in STAGES[name].cells(context.scale) if any(fnmatch(cell.name, each) for each in options.only)
    ]
    cells = results.missing(wanted)
    if not cells:
        return
    results.begin(begin)
    for _, group in groupby(cells, key=lambda cell: cell.group):
        if time.time() > until - (0 if options.rehearse else SUFFICIENT):
            console.print(f"{name}: time is over; what is missing can be measured later with --earlier")
            return
        ready = [_ready(cell, begin, results) for cell in group]
        for cell, outcome in _measured(ready, until, context, options.in_process):
            results.add(cell.name, outcome)
            console.print(f"{cell.stage}: {cell.name}: {_told(outcome)}")
        context.kept.clear()


def _measured(cells: list[Cell], until: float, context: Context, in_process: bool) -> Iterator[tuple[Cell, Outcome]]:
    return run(cells, until, context) if in_process else run_apart(cells, until, context)


def _facts(context: Context, in_process: bool, until: float) -> dict[str, Any]:
    """Where this runs, and what the machine reaches."""
    _, found = next(_measured([Cell("ceilings", "ceilings")], until, context, in_process), (None, {}))
    return {**facts(), "ceilings": found}


def _ready(cell: Cell, begin: dict[str, Any], results: Results) -> Cell:
    """The cell with what is known only now: the machine's rate, and the memory that another took."""
    settings = {**cell.settings, "matrix_flops": begin["ceilings"].get("matrix_flops")}
    if "memory_of" in settings:
        settings["memory"] = results[settings["memory_of"]].get("peak", {}).get("allocated") or "90%"
    return replace(cell, settings=settings)


def _told(outcome: Outcome) -> str:
    """A line for the screen."""
    parts = [outcome["status"], f"{outcome['seconds']:.0f} s" if "seconds" in outcome else ""]
    if "tokens_per_second" in outcome and isinstance(outcome["tokens_per_second"], float):
        parts.append(f"{outcome['tokens_per_second']:,.0f} tokens/s")
    if (outcome.get("peak") or {}).get("allocated") and "gain" not in outcome:
        parts.append(f"{outcome['peak']['allocated'] / 1e9:.1f} GB")
    if "parity" in outcome:
        parts.append(f"parity {outcome['parity']['passed']}")
    if "gain" in outcome:
        parts.append(f"{outcome['gain']:.2f} x")
    if "longest" in outcome:
        parts.append(f"{outcome['longest']:,} tokens")
    if outcome.get("failed"):
        parts.append(f"failed: {', '.join(outcome['failed'][:5])}")
    return ", ".join(part for part in [*parts, outcome.get("reason", "")[:300]] if part)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="inarch_benchmarks.gpu", description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], help="which stages; all where none is named")
    parser.add_argument("--output", type=Path, required=True, help="folder that the results are written to")
    parser.add_argument("--earlier", type=Path, help="folder of an earlier run's results, which is gone on with")
    parser.add_argument("--budget", type=float, default=1700.0, help="seconds after which nothing more is begun")
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of the names of the cells that are measured")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at tiny sizes: the figures mean nothing")
    parser.add_argument("--in-process", action="store_true", help="all cells in this process")
    return parser


if __name__ == "__main__":
    main()
