from inarch_benchmarks.comparison.model import BenchmarkModel
from inarch_benchmarks.comparison.task import BenchmarkTask
from inarch_benchmarks.embedded import plugin


def test_it_brings_tasks_and_their_bases() -> None:
    tasks: list[type[BenchmarkTask]] = []
    models: list[type[BenchmarkModel]] = []
    plugin.register_benchmark_tasks(tasks.append)
    plugin.register_benchmark_models(models.append)
    assert [task.name for task in tasks] == ["digits", "polarity", "sequence", "real-text"]
    assert {task.model for task in tasks} == {model.name for model in models}
    for task in tasks:
        assert task.metric in task.metrics
        assert 0 <= task.chance < 1
        assert task.recipe.steps
    assert all(model.work > 0 for model in models)
