"""The figures of the timing pass, one file a cell."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inarch_benchmarks.comparison import surroundings
from inarch_benchmarks.comparison.cell import Cell
from inarch_benchmarks.comparison.files import write_whole
from inarch_benchmarks.comparison.quiet import quiet_transformers
from inarch_benchmarks.comparison.timing import time_cells

VERSION = 1


def missing_timings(store: Path, places: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """The places of which a cell was never timed: all of their cells are timed again, since they are timed in turn."""
    return [list(cells) for cells in places if not all(read_timing(store, cell) for cell in cells)]


def time_place(cells: Sequence[Mapping[str, Any]], rounds: int) -> dict[str, dict[str, Any]]:
    """What ``time_cells`` gives of cells that came as JSON, with what it was measured on."""
    with quiet_transformers():
        figures = time_cells([Cell.model_validate(cell) for cell in cells], rounds)
    about = {
        "version": VERSION,
        "rounds": rounds,
        "software": surroundings.software(),
        "hardware": surroundings.hardware(),
        "date": surroundings.now(),
    }
    return {key: {**found, **about} for key, found in figures.items()}


def keep_timings(store: Path, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Write them, by the key of their cell."""
    for key, found in figures.items():
        write_whole(_path(store, key), json.dumps(found, indent=1).encode())


def read_timing(store: Path, cell: Cell) -> dict[str, Any]:
    """The figures of a cell; empty where there are none, or none that this version knows."""
    try:
        found: dict[str, Any] = json.loads(_path(store, cell.key).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if found.get("version") == VERSION else {}


def _path(store: Path, key: str) -> Path:
    return store / "timings" / f"{key}.json"
