"""The published tasks, offered to the registry."""

from collections.abc import Callable

import inarch
from inarch_benchmarks.comparison import BenchmarkTask
from inarch_benchmarks.published import clue, glue, lm_eval_task
from inarch_benchmarks.published.gsm8k import GSM8K
from inarch_benchmarks.published.xsum import XSum

TASKS: tuple[type[BenchmarkTask], ...] = (*glue.TASKS, *clue.TASKS, GSM8K, XSum, *lm_eval_task.TASKS)


@inarch.hookimpl
def register_benchmark_tasks(register: Callable[[type[BenchmarkTask]], None]) -> None:
    """Bring the tasks; none of their data or libraries is touched before one is used."""
    for task in TASKS:
        register(task)
