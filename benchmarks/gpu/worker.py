"""Cells in a process of their own, so that a crash ends one cell and not the run.

The process writes a line when it begins a cell and one when it ends it. What began and did not end has crashed, and
the cells after it are given to a new process.
"""

import gc
import json
import logging
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from .cell import Cell
from .contenders import Unavailable
from .scale import MEASURED, REHEARSED, Scale

COMMAND = (sys.executable, "-m", "inarch_benchmarks.gpu.worker")
PATIENCE = 20.0
"""Seconds that a process may go on beyond its time, to end the cell that it is at."""


@dataclass
class Context:
    """What a stage is given beside its cell.

    Attributes:
        scale: How large everything is.
        scratch: A folder for files that are thrown away.
        kept: What a stage keeps from one cell to the next of its process.
    """

    scale: Scale
    scratch: Path
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where."""
        return torch.device(self.scale.device)


Outcome = dict[str, Any]


def measure(cell: Cell, context: Context) -> Outcome:
    """What came of one cell, whatever happens in it."""
    begin = time.perf_counter()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of every cast
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the deprecations of others are not what is measured
            found = {"status": "done", **import_module(f".{cell.stage}", __package__).measure(cell.settings, context)}
    except Unavailable as reason:
        found = {"status": "unavailable", "reason": str(reason)}
    except torch.OutOfMemoryError as error:
        found = {"status": "out of memory", "reason": str(error).partition(". ")[0]}
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        found = {"status": "failed", "reason": f"{type(error).__name__}: {error}"[:2000], "where": where}
    if found["status"] != "done":
        context.kept.clear()  # a model that failed in the midst of a step is not to be gone on with
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return {**found, "seconds": time.perf_counter() - begin}


def run(cells: Sequence[Cell], until: float, context: Context) -> Iterator[tuple[Cell, Outcome]]:
    """Measure cells in this process, as long as there is time."""
    for cell in cells:
        if time.time() > until:
            return
        yield cell, measure(cell, context)


def run_apart(
    cells: Sequence[Cell], until: float, context: Context, command: Sequence[str] = COMMAND
) -> Iterator[tuple[Cell, Outcome]]:
    """Measure cells in processes of their own, one after the other.

    Args:
        cells: What to measure.
        until: When to end, in seconds of ``time.time``; a cell that is cut short counts as not tried.
        context: What the stages are given.
        command: What runs the cells of a file.
    """
    left = list(cells)
    by_name = {cell.name: cell for cell in cells}
    order, report = context.scratch / "cells.json", context.scratch / "report.jsonl"
    while left and time.time() < until:
        report.write_text("")
        order.write_text(
            json.dumps(
                {
                    "cells": [cell.to_json() for cell in left],
                    "rehearsed": context.scale is REHEARSED,
                    "until": until,
                    "scratch": str(context.scratch),
                }
            )
        )
        code = _ended([*command, str(order), str(report)], until + PATIENCE - time.time())
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        done = {line["name"]: line["outcome"] for line in lines if "outcome" in line}
        begun = [line["name"] for line in lines if line["name"] not in done]
        if code is not None:
            for name in begun or ([left[0].name] if code else []):
                done[name] = {"status": "crashed", "reason": f"its process ended with code {code}"}
        yield from ((by_name[name], outcome) for name, outcome in done.items())
        left = [cell for cell in left if cell.name not in done]
        if code is None or not done:
            return


def _ended(command: Sequence[str], seconds: float) -> int | None:
    """The exit code of a command; ``None`` if it was stopped, since the time was over."""
    process = subprocess.Popen(command)
    try:
        return process.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    except BaseException:
        process.kill()
        raise


Measure = Callable[[dict[str, Any], Context], Outcome]


def main() -> None:
    """Measure the cells of a file and write the report."""
    order = json.loads(Path(sys.argv[1]).read_text())
    context = Context(REHEARSED if order["rehearsed"] else MEASURED, Path(order["scratch"]))
    with Path(sys.argv[2]).open("a") as report:

        def write(line: dict[str, Any]) -> None:
            report.write(json.dumps(line) + "\n")
            report.flush()

        for each in order["cells"]:
            if time.time() > order["until"]:
                return
            cell = Cell(**each)
            write({"name": cell.name})
            write({"name": cell.name, "outcome": measure(cell, context)})


if __name__ == "__main__":
    main()
