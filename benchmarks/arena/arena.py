"""The arena: every architecture against every method, over a few processes."""

import gc
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import torch

from inarch_benchmarks.arena.catalogue import Entry
from inarch_benchmarks.arena.cell import FAILED, Cell, one_line, run_cell, subject
from inarch_benchmarks.arena.contenders import CONTENDERS

SECONDS = 60
"""What a cell may take, and the making of a model with its batch."""

ENTRIES_PER_PROCESS = 100
"""After so many a process is followed by a fresh one: transformers keeps the module of every model it made."""


@dataclass(frozen=True)
class Row:
    """What came of one architecture.

    Attributes:
        entry: The architecture.
        unbuilt: Why there is no model of it that gives a loss; empty if there is one.
        parameters: Number of parameters of the model.
        cells: By method.
    """

    entry: Entry
    unbuilt: str = ""
    parameters: int = 0
    cells: Mapping[str, Cell] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON types."""
        return {
            "key": self.entry.key,
            "task": self.entry.task,
            "class": self.entry.class_name,
            "parameters": self.parameters,
            "unbuilt": self.unbuilt,
            "cells": {name: cell.to_dict() for name, cell in self.cells.items()},
        }


def run(entries: Sequence[Entry], methods: Sequence[str], processes: int, on_done: Callable[[Row], None]) -> list[Row]:
    """Every method on every architecture.

    Args:
        entries: The architectures.
        methods: Names of the methods.
        processes: Number of processes, of one thread each.
        on_done: Called with every row as it ends, in any order.

    Returns:
        The rows in the order of the entries.
    """
    rows: dict[Entry, Row] = {}

    def done(row: Row) -> None:
        rows[row.entry] = row
        on_done(row)

    for entry in _run_together(entries, methods, processes, done):
        for _ in _run_together([entry], methods, 1, done):  # alone, so that it is known which one kills its process
            killed = Cell(FAILED, "the process was killed", "BrokenProcessPool")
            done(Row(entry, cells=dict.fromkeys(methods, killed)))
    return [rows[entry] for entry in entries]


def _run_together(
    entries: Sequence[Entry], methods: Sequence[str], processes: int, done: Callable[[Row], None]
) -> list[Entry]:
    """Run in one pool of processes; the entries that are left if one of the processes was killed."""
    left = dict.fromkeys(entries)
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_start, max_tasks_per_child=ENTRIES_PER_PROCESS
    ) as pool:
        try:
            for future in as_completed([pool.submit(contest, entry, methods) for entry in entries]):
                row = future.result()
                del left[row.entry]
                done(row)
        except BrokenProcessPool:
            pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return list(left)


def contest(entry: Entry, methods: Sequence[str]) -> Row:
    """Every method on one architecture, in this process."""
    try:
        with _limit():
            base = subject(entry.model, entry.batch())
            parameters = sum(parameter.numel() for parameter in entry.model().parameters())
    except Exception as error:  # whatever transformers raises is the reason
        return Row(entry, unbuilt=one_line(error))
    cells = {}
    for name in methods:
        with _limit():
            cells[name] = run_cell(base, name, CONTENDERS[name])
        gc.collect()
    return Row(entry, "", parameters, cells)


@contextmanager
def _limit() -> Iterator[None]:
    """Inside, a ``TimeoutError`` is raised after ``SECONDS``."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _start() -> None:
    """What a process begins with: one thread, nothing from the hub, and none of transformers' advice."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    import transformers

    transformers.utils.logging.set_verbosity_error()
