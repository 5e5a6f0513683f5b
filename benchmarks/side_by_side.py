"""Measuring things beside one another in one process, and the command that writes what was found."""

import argparse
import gc
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

PACKAGES = ("inarch", "peft", "torch", "transformers", "safetensors")


def alternate(operations: Mapping[str, Callable[[], Callable[[], Any]]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each operation, done in turn ``repeats`` times after one round that is not counted.

    Args:
        operations: By name, what prepares the operation and returns it; the preparation is not timed.
        repeats: How many rounds count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in operations}
    with _without_collector():
        for turn in range(repeats + 1):
            for name, prepare in operations.items():
                run = prepare()
                start = time.perf_counter()
                run()
                spent = time.perf_counter() - start
                if turn:
                    seconds[name].append(spent)
    return seconds


def again(work: Callable[[], Any]) -> Callable[[], Callable[[], Any]]:
    """An operation that needs no preparation, for ``alternate``."""
    return lambda: work


def quartiles(seconds: Sequence[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile, in milliseconds."""
    return [1e3 * quartile for quartile in statistics.quantiles(seconds, n=4)]


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.split(": ")[1] for line in cpu.read_text().splitlines() if "model name" in line] if cpu.exists() else []
    )
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def command(
    description: str | None,
    output: Path,
    repeats: int,
    measured: Callable[[int], dict[str, Any]],
    table: Callable[[dict[str, Any]], Table],
) -> None:
    """The command of one benchmark: measure, write the results and print them.

    Args:
        description: What its help says.
        output: Where the results are written, unless the user says otherwise.
        repeats: How many rounds count, unless the user says otherwise.
        measured: Gives the results of so many rounds.
        table: Draws results.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds of each operation")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; one gives the steadiest figures")
    parser.add_argument("--output", type=Path, default=output, help="where the results are written")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's and transformers' deprecations are not what is measured
        document = {"machine": machine(), "repeats": options.repeats, **measured(options.repeats)}
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    if options.json:
        print(json.dumps(document, indent=2))  # noqa: T201 - the command's output
    else:
        Console().print(table(document))


@contextmanager
def _without_collector() -> Iterator[None]:
    """No garbage collection inside, as in ``timeit``; collecting before every call would empty the caches for it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
