"""``inarch bench compare``: two contenders against each other."""

import json as json_format
import math
from dataclasses import asdict
from typing import Annotated, Any

import typer

from inarch_benchmarks.commands.options import DEFAULT_STORE, Json, Store

One = Annotated[str, typer.Argument(metavar="A", help="Label of a contender.")]
Other = Annotated[str, typer.Argument(metavar="B", help="Label of another.")]
SuiteOption = Annotated[str, typer.Option("--suite", help="The suite that both are of.")]


def compare(
    one: One, other: Other, suite: SuiteOption = "standard", store: Store = DEFAULT_STORE, json: Json = False
) -> None:
    """Say whether A is better than B on each task, by runs of the same seeds, and what it would take to know."""
    from rich.console import Console
    from rich.table import Table

    from inarch_benchmarks.analysis.compare import compare as differences
    from inarch_benchmarks.comparison.suite import read_suite
    from inarch_benchmarks.session.plan import kept_plan
    from inarch_benchmarks.session.reporting import entries

    found = differences(entries(kept_plan(read_suite(suite).name, store), store), one, other)
    if json:
        typer.echo(json_format.dumps([_plain(asdict(each)) for each in found], indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task")
    table.add_column(f"{one} less {other}", overflow="fold")
    for name in ("95 % interval", "p, adjusted", "wins", "could have found", "seeds to settle"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for each in found:
        interval = each.interval
        table.add_row(
            each.task,
            f"{interval.mean:+.3f}",
            f"{_number(interval.low, '+.3f')} to {_number(interval.high, '+.3f')}",
            _number(each.adjusted, ".3f"),
            _number(each.improvement, ".0%"),
            _number(each.detectable, ".3f"),
            "more than 1000" if each.seeds_needed is None else str(each.seeds_needed),
            each.verdict,
        )
    Console().print(table)


def _number(value: float, form: str) -> str:
    return "?" if math.isnan(value) else format(value, form)


def _plain(value: Any) -> Any:
    """JSON types; a number that is none as null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
