"""What the harness itself costs, by ``python -m inarch_benchmarks.harness``.

Its share of a session: the wall time in which nothing is loaded, trained, saved or scored. And of a store of 100,000
runs, as typed in a terminal: the time of ``inarch bench report`` for a suite of the size of the shipped ones, and of
``inarch bench query`` over all runs, without and with the index that the first query leaves. Beside them stands what
any command takes to start, most of it for importing torch and transformers: that of ``inarch --version``. The figures
go to ``benchmarks/results/harness.json`` with the machine, the versions and the date.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from inarch_benchmarks.comparison.cell import Cell
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.record import Curve, Forgetting, Memory, Parameters, RunRecord, Scored, Seconds
from inarch_benchmarks.comparison.specification import RunSpecification
from inarch_benchmarks.comparison.store import RunStore
from inarch_benchmarks.comparison.suite import parse_suite
from inarch_benchmarks.executors.here import Here
from inarch_benchmarks.session.limits import Limits
from inarch_benchmarks.session.plan import Plan, keep_plan
from inarch_benchmarks.session.session import run_suite

from .side_by_side import command as benchmark

RESULTS = Path(__file__).parent / "results" / "harness.json"
SUITES, CONTENDERS, TASKS, SEEDS = 125, 20, 4, 10
"""Suites in the store, and what each has."""

ITEMS = 500
BASE, HEAD = 264_000, 650


def measured(repeats: int) -> dict[str, Any]:
    """Both figures, with their repetitions."""
    shares = [share() for _ in track(range(repeats), "sessions", console=Console(stderr=True))]
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(folder)
        for number in track(range(SUITES), "suites of made-up runs", console=Console(stderr=True)):
            fill(store, f"suite-{number}")
        query = ["query", "select method, avg(test_accuracy) from runs group by method"]
        report = ["report", str(suite_file(store, "suite-0"))]
        seconds: dict[str, list[float]] = {
            "start": [],
            "report": [],
            "query, first": [bench(store, *query)],
            "query": [],
        }
        for _ in track(range(repeats), "commands", console=Console(stderr=True)):
            seconds["start"].append(seconds_of("--version"))
            seconds["report"].append(bench(store, *report))
            seconds["query"].append(bench(store, *query))
        stored = len(store.ids())
    return {"shares": shares, "stored": stored, "of the suite": CONTENDERS * TASKS * SEEDS, "seconds": seconds}


def share(steps: int = 75) -> float:
    """Share of a session's wall time that the harness takes, base models and the first imports aside."""
    content = {
        "name": "harness", "tasks": ["digits", "sequence"], "methods": [{"method": "lora", "learning_rate": 1e-3}],
        "references": ["head"], "reference_rates": {"head": 1e-3}, "seeds": 2, "timing": 0, "recipe": {"steps": steps},
    }  # fmt: skip
    suite = parse_suite(content, "harness")
    started: list[float] = []

    def on_progress(stage: str, done: int, total: int) -> None:
        if stage == "runs" and not started:
            started.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        plan = run_suite(suite, "harness", Path(folder), Here, Limits(), on_progress)
        wall = time.perf_counter() - started[0]
        records = list(RunStore(folder).records())
    assert len(records) == len(plan.cells) * suite.seeds
    assert all(record.status == "finished" for record in records)
    work = sum(record.seconds.total - record.seconds.harness for record in records if record.seconds)
    return (wall - work) / wall


def fill(store: RunStore, name: str) -> None:
    """Put a suite with made-up finished runs into a store, as a session would have left it."""
    content = {
        "name": name, "tasks": [f"task {number}" for number in range(TASKS)],
        "methods": [{"method": "made-up", "label": f"contender {number}"} for number in range(CONTENDERS)],
        "references": [], "control": False, "seeds": SEEDS,
    }  # fmt: skip
    suite_file(store, name).write_text(json.dumps(content))  # JSON is YAML
    suite = parse_suite(content, name)
    cells = [cell(name, contender, entry.name) for entry in suite.tasks for contender in range(CONTENDERS)]
    keep_plan(Plan(suite=suite, source=name, cells=tuple(cells)), store.folder)
    for each in cells:
        for seed in range(SEEDS):
            store.put(record(each.run(seed, "test", {}), each.parameters))


def cell(suite: str, contender: int, task: str) -> Cell:
    """A contender of a made-up suite on one task."""
    return Cell(
        contender=f"contender {contender}",
        kind="method",
        method="made-up",
        settings={"of": suite, "rank": contender + 1, "alpha": 16.0, "targets": ["@linear"]},
        parameters=512 * (contender + 1),
        peak=512 * (contender + 1),
        pretrained=True,
        task=task,
        data="d" * 64,
        metric="accuracy",
        chance=0.1,
        model="made-up",
        place="made-up",
        weights="w" * 64,
        recipe=Recipe(steps=300),
        learning_rate=1e-3,
    )


def record(specification: RunSpecification, parameters: int) -> RunRecord:
    """A finished run with as much in it as a true one has."""
    dice = random.Random(specification.id)
    chance = 0.6 + 0.02 * (parameters % 13) / 13 + 0.02 * dice.random()
    items = "".join("01"[dice.random() < chance] for _ in range(ITEMS))
    accuracy = items.count("1") / ITEMS
    scored = Scored(metrics={"accuracy": accuracy, "loss": dice.random()}, rows=ITEMS, items=items)
    steps = list(range(30, 330, 30))
    return RunRecord(
        id=specification.id,
        specification=specification,
        status="finished",
        validation=scored,
        test=scored,
        parameters=Parameters(base=BASE, trainable=parameters + HEAD, head=HEAD, effective=parameters + HEAD),
        stored_bytes=4 * parameters,
        memory=Memory(weights=4 * BASE, gradients=4 * parameters, optimizer=8 * parameters, activations=5_000_000),
        forgetting=Forgetting(before=2.1, after=2.1 + dice.random()),
        curve=Curve(
            steps=steps, loss=[dice.random() for _ in steps], validation_steps=steps, validation=[accuracy] * len(steps)
        ),
        seconds=Seconds(training=9.0, step=0.03, total=11.0, harness=0.1),
        software={"inarch": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        hardware={"processor": "made-up", "cores": 2, "device": "cpu"},
        revision="000000000000",
        date="2026-01-01T00:00:00+00:00",
    )


def bench(store: RunStore, *words: str) -> float:
    """Wall time of ``inarch bench`` with these words on a store."""
    return seconds_of("bench", *words, "--store", str(store.folder), "--json")


def seconds_of(*words: str) -> float:
    """Wall time of ``inarch`` with these words, its imports included; their bytecode is kept, as it is for users."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "inarch", *words], check=True, stdout=subprocess.DEVNULL, env=surroundings)
    return time.perf_counter() - started


def suite_file(store: RunStore, suite: str) -> Path:
    """Where the description of a made-up suite is."""
    return store.folder / f"{suite}.yaml"


def table(document: dict[str, Any]) -> Table:
    """The figures as a table: median, and from the least to the most."""
    drawn = Table("", "median", "range", title="What the harness costs")
    shares = document["shares"]
    drawn.add_row("share of a session", f"{median(shares):.2%}", f"{min(shares):.2%} to {max(shares):.2%}")
    for name, seconds in document["seconds"].items():
        what = "start of any command" if name == "start" else f"{name}, {document['stored']:,} runs in the store"
        drawn.add_row(what, f"{median(seconds):.1f} s", f"{min(seconds):.1f} to {max(seconds):.1f} s")
    return drawn


if __name__ == "__main__":
    benchmark(__doc__, RESULTS, 3, measured, table)
