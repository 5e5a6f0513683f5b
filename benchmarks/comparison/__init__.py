"""The comparison: tasks, models, runs and what is recorded of them.

What stands here is for authors of tasks and models; a suite is run by ``inarch bench``.
"""

from inarch_benchmarks.comparison.examples import Examples, ListExamples, TensorExamples
from inarch_benchmarks.comparison.model import Base, BenchmarkModel
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.task import BenchmarkTask, Lessons, Score

__all__ = [
    "Base",
    "BenchmarkModel",
    "BenchmarkTask",
    "Examples",
    "Lessons",
    "ListExamples",
    "Recipe",
    "Score",
    "TensorExamples",
]
