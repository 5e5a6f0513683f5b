"""Where runs are computed: in processes of this machine, on Ray, through Slurm, or in this process."""

from inarch_benchmarks.executors.executor import Executor, WorkerLost
from inarch_benchmarks.executors.here import Here
from inarch_benchmarks.executors.pool import ProcessPool

__all__ = ["Executor", "Here", "ProcessPool", "WorkerLost"]
