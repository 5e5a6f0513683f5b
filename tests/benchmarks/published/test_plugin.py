import inspect

from inarch_benchmarks.comparison import BenchmarkTask, Recipe
from inarch_benchmarks.published.plugin import TASKS, register_benchmark_tasks


def test_offers_every_task_once() -> None:
    offered: list[type[BenchmarkTask]] = []
    register_benchmark_tasks(offered.append)
    assert tuple(offered) == TASKS
    assert len({task.name for task in offered}) == len(offered)


def test_every_task_says_what_the_contract_asks() -> None:
    for task in TASKS:
        assert not inspect.isabstract(task)
        assert task.metric in task.metrics
        assert 0 <= task.chance < 1
        assert "/" in task.model
        assert isinstance(task.recipe, Recipe)
        assert task.__doc__
