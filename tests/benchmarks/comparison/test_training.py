"""The training loop's parts against transformers' own."""

from typing import Literal

import pytest
import torch
from transformers import get_scheduler

from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.training import make_scheduler, order


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(20, 0.1), (7, 0.5), (5, 0.0)])
def test_schedules_are_those_of_transformers(
    schedule: Literal["linear", "cosine", "constant"], steps: int, warmup: float
) -> None:
    def rates(make: object) -> list[float]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        scheduler = make(optimizer)  # type: ignore[operator]
        found = []
        for _ in range(steps):
            found.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return found

    recipe = Recipe(steps=steps, warmup=warmup, schedule=schedule)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = rates(lambda optimizer: get_scheduler(name, optimizer, round(warmup * steps), steps))
    assert rates(lambda optimizer: make_scheduler(optimizer, recipe)) == pytest.approx(theirs)


def test_each_row_is_seen_once_before_any_is_seen_again() -> None:
    batches = list(order(10, Recipe(steps=6, batch_size=5), seed=3))
    assert [len(batch) for batch in batches] == [5] * 6
    rows = [row for batch in batches for row in batch]
    for start in (0, 10, 20):
        assert sorted(rows[start : start + 10]) == list(range(10))
    assert rows[:10] != rows[10:20]
    assert list(order(10, Recipe(steps=6, batch_size=5), seed=4)) != batches


def test_the_length_is_given_once() -> None:
    with pytest.raises(ValueError, match="steps or by epochs"):
        Recipe(steps=3, epochs=1)
    assert Recipe(epochs=3, batch_size=10).for_rows(95).steps == 28  # 28.5, to the even
    assert Recipe(steps=4).for_rows(95).steps == 4
