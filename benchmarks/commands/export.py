"""``inarch bench export``: the table of runs as a file for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from inarch_benchmarks.commands.options import DEFAULT_STORE, Store

Target = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file to write.")]


def export(file: Target, store: Store = DEFAULT_STORE) -> None:
    """Write a table with a row for every run of a store."""
    from inarch_benchmarks.comparison.store import RunStore

    RunStore(store).export(file)
