"""The toy task and base, as if a plugin had brought them to this process."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from inarch.registry import registry
from inarch_benchmarks.comparison import BenchmarkModel, BenchmarkTask, catalogue

import toy_comparison


@pytest.fixture
def toys() -> Iterator[None]:
    kinds = {"benchmark task": toy_comparison.TASKS, "benchmark model": (toy_comparison.ToyModel,)}
    registry().collect("register_benchmark_tasks", "benchmark task", BenchmarkTask)
    registry().collect("register_benchmark_models", "benchmark model", BenchmarkModel)
    plugin = SimpleNamespace(name="toys", origin="toys", distribution="toys")
    for kind, items in kinds.items():
        for item in items:
            registry()._kind(kind)[item.name] = [(item, plugin)]
    yield
    for kind, items in kinds.items():
        for item in items:
            del registry()._kind(kind)[item.name]
    catalogue.task.cache_clear()
    catalogue.made_model.cache_clear()
