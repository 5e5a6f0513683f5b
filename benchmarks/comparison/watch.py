"""What the time of a run was spent on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CONTENDED = 0.9
"""A run with less processor time than this share of its wall time on a CPU had to wait for something else."""


class Watch:
    """Wall time by what it was spent on, and the processor time beside it.

    Attributes:
        laps: Seconds by name; a lap within another counts in both.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.laps: dict[str, float] = {}
        self._processor: dict[str, float] = {}
        self._open: dict[str, tuple[float, float]] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """What is done inside is counted under this name."""
        self._open[name] = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._close(name)

    def notes(self) -> dict[str, Any]:
        """Everything up to now, laps that are not over included."""
        for name in list(self._open):
            self._close(name)
            self._open[name] = time.perf_counter(), time.process_time()
        return {"total": self.total(), "laps": self.laps, "processor": self._processor}

    def add(self, notes: dict[str, Any]) -> None:
        """Add the times of an earlier part of the run."""
        self._started -= notes["total"]
        for mine, earlier in ((self.laps, notes["laps"]), (self._processor, notes["processor"])):
            for name, seconds in earlier.items():
                mine[name] = mine.get(name, 0.0) + seconds

    def total(self) -> float:
        """Seconds since the beginning, earlier parts included."""
        return time.perf_counter() - self._started

    def contended(self, name: str) -> bool:
        """Whether those laps had to wait for something else."""
        return self._processor.get(name, 0.0) < CONTENDED * self.laps.get(name, 0.0)

    def _close(self, name: str) -> None:
        wall, processor = self._open.pop(name)
        self.laps[name] = self.laps.get(name, 0.0) + time.perf_counter() - wall
        self._processor[name] = self._processor.get(name, 0.0) + time.process_time() - processor
