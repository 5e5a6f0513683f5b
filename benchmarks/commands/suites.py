"""``inarch bench suites``: the suites that come with Inarch."""

import json as json_format

import typer

from inarch_benchmarks.commands.options import Json


def suites(json: Json = False) -> None:
    """List the shipped suites: what each compares, on what, and how often."""
    from rich.console import Console
    from rich.table import Table

    from inarch_benchmarks.comparison.contender import contenders
    from inarch_benchmarks.comparison.suite import read_suite, shipped_suites

    shipped = {name: read_suite(name) for name in shipped_suites()}
    if json:
        typer.echo(json_format.dumps([suite.model_dump(mode="json") for suite in shipped.values()], indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("suite", "tasks", "contenders", "seeds", "trials", "about"):
        table.add_column(name, overflow="fold", justify="right" if name in ("tasks", "contenders", "seeds") else "left")
    for name, suite in shipped.items():
        trials = str(suite.tuning.trials) if suite.tuning else "not tuned"
        counts = (len(suite.tasks), len(contenders(suite)), suite.seeds)
        table.add_row(name, *map(str, counts), trials, suite.about.strip())
    Console().print(table)
