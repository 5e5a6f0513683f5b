"""Every architecture against every method: ``python -m inarch_benchmarks.arena``."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from inarch_benchmarks.arena.arena import Row, run
from inarch_benchmarks.arena.catalogue import TASKS, Entry, entries
from inarch_benchmarks.arena.cell import FAILED
from inarch_benchmarks.arena.contenders import CONTENDERS
from inarch_benchmarks.arena.diary import Diary
from inarch_benchmarks.arena.document import OUTCOMES, by_reason, document, page, summary
from inarch_benchmarks.arena.plot import save_plot
from inarch_benchmarks.comparison.surroundings import processors

RESULTS = Path(__file__).parents[1] / "results"


def chosen(models: str, tasks: Sequence[str]) -> list[Entry]:
    """The architectures whose key, or type, the glob matches."""
    return [
        entry
        for entry in entries()
        if entry.task in tasks and (fnmatchcase(entry.key, models) or fnmatchcase(entry.model_type, models))
    ]


def watched(
    selected: Sequence[Entry], methods: Sequence[str], processes: int, console: Console, diary: Diary
) -> list[Row]:
    """Run what is not in the diary, with a progress bar; what fails is told at once."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
    with bar:
        rows = {row.entry: row for row in diary.rows(selected)}
        task = bar.add_task("arena", total=len(selected), completed=len(rows))
        failed = 0

        def on_done(row: Row) -> None:
            nonlocal failed
            diary.note(row)
            for method, cell in row.cells.items():
                if cell.outcome == FAILED:
                    failed += 1
                    bar.console.print(
                        f"{method} failed on {row.entry.key}: {cell.reason}", markup=False, soft_wrap=True
                    )
            bar.update(task, advance=1, description=f"arena, {failed} failed")

        left = [entry for entry in selected if entry not in rows]
        rows |= {row.entry: row for row in run(left, methods, processes, on_done)}
        return [rows[entry] for entry in selected]


def show(rows: Sequence[Row], methods: Sequence[str], console: Console) -> None:
    """Print what came out, by method, and the reasons of failures."""
    table = Table(box=None, header_style="bold")
    table.add_column("method")
    for column in (*OUTCOMES, "refused share", "seconds"):
        table.add_column(column, justify="right")
    for method, told in summary(rows, methods).items():
        counts = [str(told[outcome]) for outcome in OUTCOMES]
        table.add_row(method, *counts, f"{told['refused share']:.1%}", f"{told['seconds']:.0f}")
    console.print(table)
    for (method, reason), keys in by_reason(rows, FAILED).items():
        console.print(f"{method} failed on {len(keys)}: {reason}: {', '.join(keys[:4])}", markup=False)


def main() -> None:
    """Run, write the results and print them; exit code 1 if a cell failed."""
    parser = argparse.ArgumentParser(prog="python -m inarch_benchmarks.arena", description=__doc__)
    parser.add_argument("--models", default="*", help="glob over keys (causal-lm/llama) or types (llama)")
    parser.add_argument("--methods", default=",".join(CONTENDERS), help="names, with commas")
    parser.add_argument("--tasks", default=",".join(TASKS), help="names, with commas")
    parser.add_argument("--processes", type=int, default=processors(), help="processes of one thread each")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for arena.json, arena.md and arena.png")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was ended, of the same output")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    options = parser.parse_args()
    methods = options.methods.split(",")
    if unknown := set(methods) - CONTENDERS.keys():
        parser.error(f"no method {', '.join(sorted(unknown))} in the arena: {', '.join(CONTENDERS)}")
    if not (selected := chosen(options.models, options.tasks.split(","))):
        parser.error(f'no architecture matches "{options.models}" in {options.tasks}')
    diary = Diary(options.output / "arena.jsonl", methods)
    if not options.resume:
        diary.close()
    start = time.perf_counter()
    rows = watched(selected, methods, options.processes, Console(stderr=True), diary)
    seconds = time.perf_counter() - start
    options.output.mkdir(parents=True, exist_ok=True)
    told = document(rows, methods, seconds)
    (options.output / "arena.json").write_text(json.dumps(told, indent=1) + "\n")
    (options.output / "arena.md").write_text(page(rows, methods, seconds))
    save_plot(rows, methods, options.output / "arena.png")
    diary.close()
    if options.json:
        print(json.dumps(told, indent=1))  # noqa: T201 - the command's output
    else:
        show(rows, methods, Console())
    sys.exit(any(cell.outcome == FAILED for row in rows for cell in row.cells.values()))


if __name__ == "__main__":
    main()
