"""``inarch bench run``: compute what a suite lacks, and report."""

from pathlib import Path
from typing import Annotated

import typer

from inarch_benchmarks.commands.options import DEFAULT_STORE, Json, Store, SuiteName

Engine = Annotated[str, typer.Option("--engine", help="Where runs are computed: pool, here, ray or slurm.")]
Workers = Annotated[
    int | None, typer.Option("--workers", help="How many at a time; by default one a processor.", min=1)
]
Runs = Annotated[int | None, typer.Option("--runs", help="Begin at most so many runs now.", min=0)]
Minutes = Annotated[float | None, typer.Option("--minutes", help="Begin runs for so long only.", min=0)]
Retry = Annotated[bool, typer.Option("--retry", help="Do test runs that failed once more.")]
Output = Annotated[Path | None, typer.Option("--output", help="Folder of the report; in the store by default.")]


def run(
    suite: SuiteName,
    store: Store = DEFAULT_STORE,
    engine: Engine = "pool",
    workers: Workers = None,
    runs: Runs = None,
    minutes: Minutes = None,
    retry: Retry = False,
    output: Output = None,
    json: Json = False,
) -> None:
    """Run a suite and report; what is in the store already is not run again, so a killed session goes on."""
    from rich.console import Console

    from inarch_benchmarks.commands.bar import bar
    from inarch_benchmarks.commands.printing import print_findings
    from inarch_benchmarks.comparison import surroundings
    from inarch_benchmarks.comparison.catalogue import executor
    from inarch_benchmarks.comparison.suite import read_suite
    from inarch_benchmarks.session.limits import Limits
    from inarch_benchmarks.session.reporting import report_plan
    from inarch_benchmarks.session.session import run_suite

    chosen = read_suite(suite)
    kind = executor(engine)
    count = workers or (1 if engine == "here" else surroundings.processors())
    with bar(Console(stderr=True)) as progress:
        plan = run_suite(chosen, suite, store, lambda: kind(count), Limits(runs, minutes), progress, retry=retry)
    findings, folder = report_plan(plan, store, output)
    print_findings(findings, folder, json=json)
