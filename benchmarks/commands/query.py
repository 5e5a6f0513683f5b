"""``inarch bench query``: a question to the table of runs."""

import json as json_format
from typing import Annotated

import typer

from inarch_benchmarks.commands.options import DEFAULT_STORE, Json, Store

Sql = Annotated[str, typer.Argument(metavar="SQL", help="Such as: select method, count(*) from runs group by method")]


def query(sql: Sql, store: Store = DEFAULT_STORE, json: Json = False) -> None:
    """Print what DuckDB answers over the table `runs`, a row for every run of a store."""
    from rich.console import Console
    from rich.table import Table

    from inarch_benchmarks.comparison.store import RunStore

    rows = RunStore(store).query(sql)
    if json:
        typer.echo(json_format.dumps(rows, indent=2, default=str))
        return
    table = Table(*(rows[0] if rows else ()), box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
