"""``inarch bench``: methods compared, with what is known, what is not, and what it would cost to know."""

import typer

import inarch
from inarch_benchmarks.commands.compare import compare
from inarch_benchmarks.commands.export import export
from inarch_benchmarks.commands.query import query
from inarch_benchmarks.commands.report import report
from inarch_benchmarks.commands.run import run
from inarch_benchmarks.commands.status import status
from inarch_benchmarks.commands.suites import suites

COMMANDS = (run, status, report, compare, suites, query, export)


@inarch.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Bring ``inarch bench``."""
    bench = typer.Typer(help="Compare methods: accuracy against trainable parameters, over tasks and seeds.")
    for command in COMMANDS:
        bench.command()(command)
    app.add_typer(bench, name="bench")
