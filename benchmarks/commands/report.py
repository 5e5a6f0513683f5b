"""``inarch bench report``: what a suite's runs say, also before all of them are there."""

from pathlib import Path
from typing import Annotated

import typer

from inarch_benchmarks.commands.options import DEFAULT_STORE, Json, Store, SuiteName

Output = Annotated[Path | None, typer.Option("--output", help="Folder of the report; in the store by default.")]


def report(suite: SuiteName, store: Store = DEFAULT_STORE, output: Output = None, json: Json = False) -> None:
    """Write the report of a suite: one HTML page, its pictures, the findings as JSON."""
    from inarch_benchmarks.commands.printing import print_findings
    from inarch_benchmarks.comparison.suite import read_suite
    from inarch_benchmarks.session.plan import kept_plan
    from inarch_benchmarks.session.reporting import report_plan

    findings, folder = report_plan(kept_plan(read_suite(suite).name, store), store, output)
    print_findings(findings, folder, json=json)
