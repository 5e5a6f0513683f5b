"""How the learning rates of the quick suite were chosen: ``python -m inarch_benchmarks.embedded.tune_quick``.

Every rate of a half-decade grid is tried on validation data, at seeds that no suite tests at, and the best mean wins.
Each contender tries equally many rates to begin with; where the best is at an end of them, the grid goes on until it is
not. What was measured stands in ``quick_rates.json``, and what stands there is not measured again.
"""

import argparse
import json
from collections.abc import Iterable
from math import log10
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import inarch
from inarch_benchmarks.comparison.catalogue import prepare, task
from inarch_benchmarks.comparison.run import perform
from inarch_benchmarks.comparison.specification import RunSpecification

RESULTS = Path(__file__).with_name("quick_rates.json")

SEEDS = (100, 101)

TASKS = ("digits", "polarity", "sequence", "real-text")

CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "head": ("head", {}),
    "bitfit": ("bitfit", {}),
    "lora r1": ("lora", {"rank": 1, "alpha": 2.0}),
    "lora r8": ("lora", {"rank": 8, "alpha": 16.0}),
    "adalora": ("adalora", {"initial_rank": 12, "target_rank": 8}),
    "bottleneck": ("bottleneck", {"bottleneck": 16}),
    "prefix": ("prefix", {"length": 16, "hidden": 64}),
}
"""What the quick suite compares: method and settings by label."""

START = (1e-3, 3e-3, 1e-2)
LEAST, MOST = 1e-4, 1e-1

Grid = dict[str, float]
"""Mean validation score by learning rate."""


def main() -> None:
    """Fill the grids and print the best rates as a suite takes them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    for name in wanted.tasks:
        for label in wanted.contenders:
            print(name, label, fill(name, label), flush=True)  # noqa: T201
    for label in CONTENDERS:
        print(f"{label}: {best_rates(label)}")  # noqa: T201


def fill(name: str, label: str) -> Grid:
    """Measure what is missing of one grid, and write it down rate by rate."""
    grids = measured(name)
    grid = grids.setdefault(label, {})
    while (rate := next_rate(grid)) is not None:
        grid[f"{rate:g}"] = round(fmean(_scores(name, label, rate)), 4)
        _write(name, grids)
    return grid


def next_rate(grid: Grid) -> float | None:
    """The next rate to try: those of the start first, then beyond the end at which the best lies; None when done."""
    for rate in START:
        if f"{rate:g}" not in grid:
            return rate
    rates = sorted(map(float, grid))
    best = float(max(grid, key=lambda rate: grid[rate]))
    if best == rates[0] and best > LEAST:
        return neighbour(best, -1)
    if best == rates[-1] and best < MOST:
        return neighbour(best, 1)
    return None


def neighbour(rate: float, steps: int) -> float:
    """The rate so many half decades further: 1e-3, 3e-3, 1e-2, ..."""
    decade, half = divmod(round(2 * log10(rate)) + steps, 2)
    return float(f"{3 if half else 1}e{decade}")


def best_rates(label: str) -> dict[str, float]:
    """The best measured rate of a contender on each task."""
    grids = {name: measured(name).get(label) for name in TASKS}
    return {name: float(max(grid, key=lambda rate: grid[rate])) for name, grid in grids.items() if grid}


def measured(name: str) -> dict[str, Grid]:
    """What was measured of a task on its data and weights as they are now, by contender."""
    grids: dict[str, Grid] = _read().get(name, {}).get("validation", {})
    return grids


def _scores(name: str, label: str, rate: float) -> Iterable[float]:
    on = task(name)
    base = prepare(on.model, lambda _: None)
    method, settings = CONTENDERS[label]
    for seed in SEEDS:
        specification = RunSpecification(
            task=name,
            data=on.fingerprint(),
            model=base.name,
            weights=base.fingerprint,
            method=method,
            settings=inarch.method(method, **settings).to_dict(),
            learning_rate=rate,
            recipe=on.recipe,
            seed=seed,
            purpose="tuning",
        )
        record = perform(specification, base)
        yield record.validation.metrics[on.metric] if record.validation else 0.0


def _read() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return content


def _write(name: str, grids: dict[str, Grid]) -> None:
    on = task(name)
    content = _read()
    content[name] = {"metric": on.metric, "data": on.fingerprint(), "seeds": list(SEEDS), "validation": grids}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
