"""Made-up records and findings: what a suite could have found, for tests of stores and reports."""

import random
from math import exp, log, nan, sqrt
from statistics import fmean, stdev
from typing import Any

from inarch_benchmarks.analysis.entry import Entry, Kind, Trial
from inarch_benchmarks.analysis.findings import Difference, Findings, Interval, Row, Summary, Verdict
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.record import (
    Curve,
    Forgetting,
    Memory,
    Parameters,
    RunRecord,
    Scored,
    Seconds,
)
from inarch_benchmarks.comparison.specification import RunSpecification

BASE, HEAD, SEEDS, ITEMS = 264_000, 650, 5, 400

TASKS = {
    "digits": ("accuracy", 0.1),
    "polarity": ("accuracy", 0.5),
    "reversal": ("exact_match", 0.0),
    "verses": ("accuracy", 0.02),
}

METHODS = {  # trained parameters without the head, and how far between the head and full fine-tuning
    "lora r1": (1_024, 0.62), "lora r8": (8_192, 0.93), "lora r32": (32_768, 0.97), "dora r8": (9_200, 0.94),
    "adalora r8": (12_288, 0.88), "vera r64": (1_600, 0.45), "ia3": (1_920, 0.35), "bitfit": (3_584, 0.30),
    "ln": (1_152, 0.24), "prefix 16": (16_384, 0.28), "prompt 20": (1_280, 0.12), "bottleneck 16": (17_000, 0.86),
    "compacter": (2_100, 0.66), "loreft r4": (4_100, 0.71),
}  # fmt: skip

REFERENCES = {"full": (BASE - HEAD, 1.0), "head": (0, 0.0), "zero-shot": (0, -0.6)}

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""The 97.5 % point of Student's distribution, by the number of values."""


def specification(**changes: Any) -> RunSpecification:
    """One run."""
    told = {
        "task": "digits", "data": "d" * 64, "model": "tiny-vit", "weights": "e" * 64, "method": "lora",
        "settings": {"rank": 8, "alpha": 16.0}, "learning_rate": 1e-3, "recipe": Recipe(steps=300), "seed": 0,
        "purpose": "test",
    }  # fmt: skip
    return RunSpecification(**told | changes)


def record(spec: RunSpecification | None = None, score: float = 0.8, **changes: Any) -> RunRecord:
    """A finished run."""
    spec = spec or specification()
    dice = random.Random(spec.id)
    items = "".join("01"[dice.random() < score] for _ in range(ITEMS))
    scored = Scored(
        metrics={"accuracy": score}, rows=ITEMS, items=items, slices={"negated": score - 0.05, "plain": score + 0.02}
    )
    steps = [30 * (number + 1) for number in range(10)]
    told: dict[str, Any] = {
        "id": spec.id, "specification": spec, "status": "finished", "validation": scored,
        "test": scored if spec.purpose == "test" else None,
        "parameters": Parameters(base=BASE, trainable=HEAD + 8_192, head=HEAD, effective=HEAD + 8_192),
        "stored_bytes": 36_000, "memory": Memory(weights=1_056_000, gradients=35_000, optimizer=70_000, activations=5_000_000),
        "forgetting": Forgetting(before=2.1, after=2.15),
        "curve": Curve(steps=steps, loss=[2 * exp(-step / 100) for step in steps], validation_steps=steps,
                       validation=[score * (1 - 0.9 * exp(-step / 60)) for step in steps]),
        "seconds": Seconds(training=9.0, step=0.03, total=11.0, harness=0.1),
        "software": {"inarch": "0.1.0", "torch": "2.13.0"}, "hardware": {"processor": "made-up", "cores": 2},
        "revision": "00c753d+", "date": "2026-11-22T16:00:00Z",
    }  # fmt: skip
    return RunRecord(**told | changes)


def failure(spec: RunSpecification | None = None, reason: str = "the loss was NaN at step 12") -> RunRecord:
    """A run that did not finish; its last loss is no number."""
    spec = spec or specification()
    curve = Curve(steps=[10, 20], loss=[2.0, nan])
    return RunRecord(
        id=spec.id, specification=spec, status="diverged", reason=reason, curve=curve, software={"torch": "2.13.0"}
    )


def findings(tasks: int = 4, methods: int = 14, *, budgets: bool = False) -> Findings:
    """What a suite could have found."""
    rows = [row for task in list(TASKS)[:tasks] for row in _task(task, list(METHODS)[:methods], budgets=budgets)]
    baselines = ("lora r8 @ 8192" if budgets else "lora r8", "full")
    differences = [
        _difference(one, other)
        for task in list(TASKS)[:tasks]
        for other in (row for row in rows if row.entry.task == task and row.entry.contender in baselines)
        for one in rows
        if one.entry.task == task and one.entry.kind == "method" and one is not other
    ]
    names = dict.fromkeys(row.entry.contender for row in rows)
    return Findings(
        suite="made-up",
        rows=tuple(rows),
        differences=tuple(differences),
        summaries=tuple(_summary(name, [row for row in rows if row.entry.contender == name]) for name in names),
        stacks={"A": {"inarch": "0.1.0", "torch": "2.13.0"}, "B": {"inarch": "0.1.0", "torch": "2.11.0"}},
        remarks=(
            "1 run of prefix 16 on digits did not finish: its means are over the others.",
            "The best learning rate of ia3 on polarity lies on the edge of what was tried.",
            "Runs of two software stacks are shown; they are not added up.",
        ),
    )


def _task(task: str, methods: list[str], *, budgets: bool) -> list[Row]:
    dice = random.Random(task)
    head, full = 0.35 + 0.2 * dice.random(), 0.86 + 0.1 * dice.random()
    contenders: list[tuple[str, Kind, int, float]] = [
        *((name, "reference", *about) for name, about in REFERENCES.items()),
        *((name, "method", *METHODS[name]) for name in methods),
        ("lora r8, not pretrained", "control", 8_192, -0.1),
    ]
    made = []
    for name, kind, parameters, worth in contenders:
        if budgets and kind == "method":
            name, parameters = f"{name} @ 8192", round(8_192 * (1 + 0.04 * dice.uniform(-1, 1)))
        true = head + (full - head) * (worth + dice.gauss(0, 0.07) * (kind == "method"))
        scores = [true + dice.gauss(0, 0.012) for _ in range(1 if name == "zero-shot" else SEEDS)]
        made.append(_row(task, name, kind, parameters, scores, (head, full), dice, 8_192 if budgets else None))
    beaten = [_beaten(row, made) for row in made]
    return [_with_front(row, share) for row, share in zip(made, beaten, strict=True)]


def _row(task, name, kind, parameters, scores, between, dice, budget) -> Row:  # type: ignore[no-untyped-def]
    trained = 0 if name == "zero-shot" else parameters + HEAD
    metric, chance = TASKS[task]
    records = []
    for seed, score in enumerate(scores):
        spec = specification(task=task, method=name.split()[0], settings={"label": name}, seed=seed)
        if name.startswith("prefix 16") and task == "digits" and seed == 3:
            records.append(failure(spec))
            continue
        records.append(
            record(
                spec,
                min(max(score, 0.0), 1.0),
                parameters=Parameters(
                    base=BASE,
                    trainable=trained,
                    head=min(HEAD, trained),
                    effective=round(trained * (0.6 if "adalora" in name else 1)),
                ),
                stored_bytes=4 * trained + 900,
                memory=Memory(
                    weights=4 * (BASE + parameters),
                    gradients=4 * trained,
                    optimizer=8 * trained,
                    activations=round(4e6 * (0.5 + dice.random())),
                ),
                forgetting=Forgetting(before=2.1, after=2.1 + 3e-5 * parameters**0.8 * dice.uniform(0.7, 1.3)),
                software={"torch": "2.13.0"},
                **({"seconds": None, "curve": Curve()} if name == "zero-shot" else {}),
            )
        )
    finished = [score for score, run in zip(scores, records, strict=True) if run.status == "finished"]
    tuned = kind == "method"
    best = dice.choice(RATES[1:])
    trials = tuple(
        Trial(
            {"learning_rate": rate},
            None if rate == 1e-2 and dice.random() < 0.2 else fmean(scores) - 0.08 * abs(log(rate / best)) / 2,
            rate == best,
        )
        for rate in RATES
    )
    step = 0.02 + 0.01 * dice.random()
    entry = Entry(
        contender=name,
        method=name.split()[0],
        kind=kind,
        task=task,
        model="tiny-vit",
        metric=metric,
        chance=chance,
        budget=budget if kind == "method" else None,
        tuned=tuned,
        edge=tuned and best == RATES[-1],
        trials=trials if tuned else (),
        records=tuple(records),
        seeds=SEEDS,
        timing={
            "step": {"median": step, "low": step * 0.95, "high": step * 1.06},
            "overhead": 0.08 + 0.2 * dice.random(),
            "merged_overhead": None if "prefix" in name else 0.001,
            "flops_step": 3_200_000_000,
            "contended": 0.0,
            **(
                {"no_merge": "prefix has no merge: its keys and values depend on the input"} if "prefix" in name else {}
            ),
        }
        if name != "zero-shot"
        else {},
    )
    gap = (
        _interval([(score - between[0]) / (between[1] - between[0]) for score in finished])
        if len(finished) > 1
        else None
    )
    return Row(entry, _interval(finished), gap, nan, len(records) - len(finished), "A")


def _interval(values: list[float]) -> Interval:
    if len(values) < 2:
        return Interval(values[0], nan, nan, len(values), nan, 0.0, "none")
    spread, half = stdev(values), STUDENT[len(values)] * sqrt(stdev(values) ** 2 / len(values) + 0.006**2)
    return Interval(fmean(values), fmean(values) - half, fmean(values) + half, len(values), spread, 0.006, "t")


def _beaten(row: Row, rows: list[Row]) -> float:
    """A stand-in for the probability of being on the front."""
    if row.entry.kind != "method":
        return nan
    assert row.score
    mine = row.entry.finished[0].parameters
    worth = 1.0
    for other in rows:
        its = other.entry.finished[0].parameters
        if other.entry.kind == "method" and other is not row and its and mine and its.trainable <= mine.trainable:
            assert other.score
            worth *= 1 / (1 + exp((other.score.mean - row.score.mean) / 0.008))
    return worth


def _with_front(row: Row, front: float) -> Row:
    return Row(row.entry, row.score, row.gap, front, row.failures, row.stack)


def _difference(one: Row, other: Row) -> Difference:
    pairs = [
        (mine.test.metrics["accuracy"] - its.test.metrics["accuracy"])
        for mine in one.entry.finished
        for its in other.entry.finished
        if mine.specification.seed == its.specification.seed and mine.test and its.test
    ]
    found = _interval(pairs)
    size = abs(found.mean) / (found.high - found.mean)
    verdict: Verdict = "indistinguishable" if size < 1 else "better" if found.mean > 0 else "worse"
    return Difference(
        one.entry.contender,
        other.entry.contender,
        one.entry.task,
        one.entry.model,
        found,
        p=exp(-2 * size),
        adjusted=min(1.0, exp(-2 * size) * 4) if verdict == "indistinguishable" else exp(-4 * size),
        improvement=1 / (1 + exp(-3 * found.mean / found.spread)),
        detectable=found.spread * 1.4,
        seeds_needed=None
        if size < 0.05
        else min(round(20 / size**2) + 2, 1000)
        if verdict == "indistinguishable"
        else 5,
        verdict=verdict,
    )


def _summary(name: str, rows: list[Row]) -> Summary:
    gaps, scores = [row.gap.mean for row in rows if row.gap], [row.score.mean for row in rows if row.score]
    gap = Interval(fmean(gaps), fmean(gaps) - 0.03, fmean(gaps) + 0.03, SEEDS, 0.02, 0.0, "t") if gaps else None
    return Summary(name, gap, fmean(scores) if scores else None, len(scores))
