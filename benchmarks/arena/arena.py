"""The arena: every architecture against every method, each architecture in a process of its own."""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from inarch_benchmarks.arena.catalogue import Entry
from inarch_benchmarks.arena.cell import FAILED, Cell, one_line, run_cell, subject
from inarch_benchmarks.arena.contenders import CONTENDERS

SECONDS = 60
"""What a cell may take, and the making of a model with its batch."""

PRELOAD = ("inarch_benchmarks.arena.preload",)

Contest = Callable[[Entry, Sequence[str]], "Row"]


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

    @classmethod
    def from_dict(cls, entry: Entry, told: Mapping[str, Any]) -> "Row":
        """The row of ``entry`` that ``to_dict`` made."""
        cells = {name: Cell(**cell) for name, cell in told["cells"].items()}
        return cls(entry, told["unbuilt"], told["parameters"], cells)


def contest(entry: Entry, methods: Sequence[str]) -> Row:
    """Every method on one architecture, in this process."""
    try:
        with _limit():
            base = subject(entry.model, entry.batch())
    except Exception as error:  # whatever transformers raises is the reason
        return Row(entry, unbuilt=one_line(error))
    cells = {}
    for name in methods:
        with _limit():
            cells[name] = run_cell(base, name, CONTENDERS[name])
    return Row(entry, "", base.parameters, cells)


def run(
    entries: Sequence[Entry],
    methods: Sequence[str],
    processes: int,
    on_done: Callable[[Row], None],
    *,
    contest: Contest = contest,
    preload: Sequence[str] = PRELOAD,
) -> list[Row]:
    """Every method on every architecture, in processes of one thread each.

    An architecture that crashes its process or eats up its memory takes nothing else along.

    Args:
        entries: The architectures.
        methods: Names of the methods.
        processes: Number of processes at a time.
        on_done: Called with every row as it ends, in any order.
        contest: What is done with each.
        preload: Modules that the processes share.

    Returns:
        The rows in the order of the entries.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    rows: dict[Entry, Row] = {}
    waiting, running = deque(entries), dict[Connection, _Bout]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                bout = _Bout(context, contest, waiting.popleft(), methods)
                running[bout.receiver] = bout
            for bout in running.values():
                bout.end_when_overdue()
            for receiver in wait(list(running), timeout=1):
                assert isinstance(receiver, Connection)
                row = running.pop(receiver).row()
                rows[row.entry] = row
                on_done(row)
    finally:
        for bout in running.values():
            bout.process.kill()
    return [rows[entry] for entry in entries]


class _Bout:
    """One architecture in its process."""

    def __init__(self, context: Any, contest: Contest, entry: Entry, methods: Sequence[str]) -> None:
        self.entry, self.methods = entry, methods
        self.receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_report, args=(contest, entry, methods, sender))
        self.process.start()
        sender.close()  # the process has the other one: when it dies, the receiver learns of it
        self.deadline = time.monotonic() + SECONDS * (len(methods) + 2)

    def end_when_overdue(self) -> None:
        """Kill a process that its own alarm did not wake, as inside a library's loop."""
        if time.monotonic() > self.deadline:
            self.process.kill()

    def row(self) -> Row:
        """What the process said, or that it died before it said anything."""
        try:
            row: Row = self.receiver.recv()
        except EOFError:
            self.process.join()
            killed = Cell(FAILED, f"the process ended with exit code {self.process.exitcode}", "EOFError")
            row = Row(self.entry, cells=dict.fromkeys(self.methods, killed))
        self.process.join()
        self.receiver.close()
        return row


def _report(contest: Contest, entry: Entry, methods: Sequence[str], sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    sender.send(contest(entry, methods))


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
