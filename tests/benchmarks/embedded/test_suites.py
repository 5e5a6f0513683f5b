"""Every contender of the shipped suites runs where its suite puts it."""

import pytest
import torch

from inarch_benchmarks.comparison.catalogue import task
from inarch_benchmarks.comparison.model import Base
from inarch_benchmarks.comparison.resolve import resolve
from inarch_benchmarks.comparison.run import adapted
from inarch_benchmarks.comparison.suite import read_suite

from sampled import one_of


@pytest.mark.parametrize("name", one_of(["quick", "standard", "all-methods"]))
def test_every_contender_takes_a_batch_of_its_tasks(name: str, bases: dict[str, Base]) -> None:
    suite = read_suite(name)
    there = tuple(entry for entry in suite.tasks if task(entry.name).model in bases)
    methods = tuple(
        entry.model_copy(update={"tasks": tuple(name for name in entry.tasks if task(name).model in bases)})
        for entry in suite.methods
    )
    cells = resolve(suite.model_copy(update={"tasks": there, "methods": methods, "tuning": None}), bases).cells
    assert {cell.task for cell in cells} == {"digits", "polarity", "sequence"}
    for cell in cells:
        on = task(cell.task)
        model, _ = adapted(on, cell.base, cell.run(0, "test", {}))
        lessons = on.lessons(cell.base, 0)
        for examples in (lessons.training, lessons.validation):
            loss = model(**examples.batch(range(32))).loss
            assert torch.isfinite(loss), (cell.contender, cell.task)
