"""``inarch bench export``: the table of runs as a file for other programs."""

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from inarch_benchmarks.commands.options import DEFAULT_STORE, Json, Store

Target = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file to write.")]


def export(file: Target, store: Store = DEFAULT_STORE, json: Json = False) -> None:
    """Write a table with a row for every run of a store."""
    from inarch_benchmarks.comparison.store import RunStore

    runs = RunStore(store).export(file)
    if json:
        typer.echo(json_format.dumps({"file": str(file), "runs": runs}))
    else:
        typer.echo(f"{file} has {runs:,} runs.")
