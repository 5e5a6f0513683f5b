"""``inarch bench status``: how far a suite is."""

import json as json_format
from typing import Any

import typer

from inarch_benchmarks.commands.options import DEFAULT_STORE, Json, Store, SuiteName


def status(suite: SuiteName, store: Store = DEFAULT_STORE, json: Json = False) -> None:
    """Say how many runs of a suite are done, failed and missing."""
    from rich.console import Console
    from rich.table import Table

    from inarch_benchmarks.comparison.store import RunStore
    from inarch_benchmarks.comparison.suite import read_suite
    from inarch_benchmarks.session.plan import kept_plan
    from inarch_benchmarks.session.session import works

    plan = kept_plan(read_suite(suite).name, store)
    rows = [_row(work) for work in works(plan, RunStore(store))]
    if json:
        typer.echo(json_format.dumps({"suite": plan.suite.name, "cells": rows}, indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("task")
    table.add_column("contender", overflow="fold")
    for name in ("trials", "runs", "failed", "missing"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("task", "contender", "trials", "runs", "failed", "missing")))
    console = Console()
    console.print(table)
    done, wanted = sum(row["done"] for row in rows), sum(row["total"] for row in rows)
    console.print(f"\n{done} of {wanted} runs are done.", highlight=False)


def _row(work: Any) -> dict[str, Any]:
    entry = work.entry()
    return {
        "task": entry.task,
        "model": entry.model,
        "contender": entry.contender,
        "trials": len(entry.trials),
        "runs": len(entry.records),
        "failed": len(entry.records) - len(entry.finished),
        "missing": entry.seeds - len(entry.records),
        "done": work.done,
        "total": work.total,
    }
