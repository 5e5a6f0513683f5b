"""The progress bar of a session."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

QUARTERS = 4
"""How often a stage is told of where the console is no terminal."""


@contextmanager
def bar(console: "Console") -> "Iterator[Callable[[str, int, int], None]]":
    """A bar for each stage, with the time left; lines where the console is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    drawn = Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("passed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        disable=not console.is_terminal,
        speed_estimate_period=600,  # runs take seconds to hours each
    )
    stages: dict[str, TaskID] = {}
    told: dict[str, int] = {}

    def advance(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages[stage] = drawn.add_task(stage, total=total)
        drawn.update(stages[stage], completed=done, total=total)
        quarter = QUARTERS * done // total if total else QUARTERS
        if not console.is_terminal and told.get(stage) != quarter:
            told[stage] = quarter
            console.print(f"{stage}: {done} of {total}", highlight=False)

    with drawn:
        yield advance
