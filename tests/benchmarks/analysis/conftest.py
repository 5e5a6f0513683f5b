"""Planted runs: records with scores that a test chose."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from inarch_benchmarks.analysis.contenders import Contender
from inarch_benchmarks.analysis.entry import Entry
from inarch_benchmarks.analysis.panel import Panel
from inarch_benchmarks.analysis.scores import Scores
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.record import Parameters, RunRecord, Scored
from inarch_benchmarks.comparison.specification import RunSpecification

RECIPE = Recipe(steps=10)
SOFTWARE: dict[str, str | None] = {"python": "3.11.9", "torch": "2.13.0"}


def planted_record(
    method: str,
    seed: int,
    score: float | Sequence[int] | None,
    task: str = "digits",
    trainable: int = 100,
    **fields: Any,
) -> RunRecord:
    specification = RunSpecification(
        task=task, data="d", model="vit", weights="w", method=method, settings={}, learning_rate=1e-3, recipe=RECIPE, seed=seed, purpose="test",
    )  # fmt: skip
    parameters = Parameters(base=1000, trainable=trainable + 10, head=10, effective=trainable + 10)
    if score is None:
        return RunRecord(
            id=f"{method}{seed}",
            specification=specification,
            **{"status": "failed", "reason": "out of memory"} | fields,
        )
    if isinstance(score, float):
        test = Scored(metrics={"accuracy": score}, rows=1000)
    else:
        items = "".join(str(int(item)) for item in score)
        test = Scored(metrics={"accuracy": items.count("1") / len(items)}, rows=len(items), items=items)
    return RunRecord(
        **{"id": f"{method}{seed}", "specification": specification, "status": "finished", "test": test, "parameters": parameters, "software": SOFTWARE} | fields
    )  # fmt: skip


def planted_entry(
    contender: str, found: Sequence[float | Sequence[int] | None], *, task: str = "digits", kind: Any = "method", trainable: int = 100, seeds: int | None = None, tuned: bool = True, edge: bool = False, records: Sequence[RunRecord] | None = None,
) -> Entry:  # fmt: skip
    made = [planted_record(contender, seed, score, task, trainable) for seed, score in enumerate(found)]
    return Entry(
        contender=contender, method=contender, kind=kind, task=task, model="vit", metric="accuracy", chance=0.1, tuned=tuned, edge=edge,
        records=tuple(made if records is None else records), seeds=len(found) if seeds is None else seeds,
    )  # fmt: skip


def planted_scores(
    items: np.ndarray | None, means: Sequence[float] | np.ndarray | None = None, rows: int = 1000
) -> Scores:
    """Of shape (m, n), or of means alone."""
    found = items.mean(axis=1) if means is None and items is not None else np.asarray(means, float)
    return Scores(tuple(range(len(found))), found, items, rows if items is None else items.shape[1])


def planted_contenders(*fields: tuple[Any, ...], rows: int = 1000) -> list[Contender]:
    """Of one panel: a name, and items or None and means, each."""
    found = [planted_scores(*scores, rows=rows) for _, *scores in fields]
    panel = Panel(found)
    return [Contender(planted_entry(name, []), (), each, panel) for (name, *_), each in zip(fields, found, strict=True)]


@pytest.fixture
def record() -> Callable[..., RunRecord]:
    return planted_record


@pytest.fixture
def entry() -> Callable[..., Entry]:
    return planted_entry


@pytest.fixture
def sample() -> Callable[..., Scores]:
    return planted_scores


@pytest.fixture
def contenders() -> Callable[..., list[Contender]]:
    return planted_contenders
