"""``inarch bench compare``: two contenders against each other."""

import json as json_format
import math
from dataclasses import asdict
from typing import Annotated, Any

import typer

from inarch_benchmarks.analysis.findings import Difference
from inarch_benchmarks.commands.options import DEFAULT_STORE, Json, Store

One = Annotated[str, typer.Argument(metavar="A", help="Label of a contender.")]
Other = Annotated[str, typer.Argument(metavar="B", help="Label of another.")]
SuiteOption = Annotated[str, typer.Option("--suite", help="The suite that both are of.")]


def compare(
    one: One, other: Other, suite: SuiteOption = "standard", store: Store = DEFAULT_STORE, json: Json = False
) -> None:
    """Say whether A is better than B on each task, by runs of the same seeds, and what it would take to know."""
    from rich.console import Console

    from inarch_benchmarks.analysis.compare import compare as differences
    from inarch_benchmarks.comparison.suite import read_suite
    from inarch_benchmarks.session.plan import kept_plan
    from inarch_benchmarks.session.reporting import entries

    found = differences(entries(kept_plan(read_suite(suite).name, store), store), one, other)
    if json:
        typer.echo(json_format.dumps([_plain(asdict(each)) for each in found], indent=2))
        return
    console = Console()
    for each in found:
        console.print(_sentence(each), highlight=False, markup=False)


def _sentence(found: Difference) -> str:
    """One difference in words."""
    interval = found.interval
    ends = f"[{_number(interval.low, '+.3f')}, {_number(interval.high, '+.3f')}]"
    settled = "more than 1000" if found.seeds_needed is None else str(found.seeds_needed)
    return (
        f"{found.task}: {found.one} less {found.other} is {interval.mean:+.3f} {ends}, "
        f"p {_number(found.adjusted, '.3f')}, over {interval.seeds} seeds: {found.verdict}. "
        f"Wins {_number(found.improvement, '.0%')} of pairs; {_number(found.detectable, '.3f')} would have been found; "
        f"{settled} seeds would settle a difference of this size."
    )


def _number(value: float, form: str) -> str:
    return "?" if math.isnan(value) else format(value, form)


def _plain(value: Any) -> Any:
    """JSON types; a number that is none as null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
