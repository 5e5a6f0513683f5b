"""Findings on standard output."""

from pathlib import Path

import typer

from inarch_benchmarks.analysis.findings import Findings
from inarch_benchmarks.report.document import findings_json
from inarch_benchmarks.report.terminal import show


def print_findings(findings: Findings, folder: Path, *, json: bool) -> None:
    """The findings, and where the report is."""
    if json:
        typer.echo(findings_json(findings))
    else:
        show(findings)
        typer.echo(f"\nReport: {folder / 'report.html'}")
