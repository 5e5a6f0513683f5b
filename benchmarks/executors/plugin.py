"""The executors that come with Inarch."""

from collections.abc import Callable

import inarch
from inarch_benchmarks.executors.executor import Executor
from inarch_benchmarks.executors.here import Here
from inarch_benchmarks.executors.pool import ProcessPool
from inarch_benchmarks.executors.ray import Ray
from inarch_benchmarks.executors.slurm import Slurm


@inarch.hookimpl
def register_executors(register: Callable[[type[Executor]], None]) -> None:
    """Bring them."""
    for executor in (ProcessPool, Here, Ray, Slurm):
        register(executor)
