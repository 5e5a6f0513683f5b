"""A Ray cluster."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar, TypeVar

from inarch_benchmarks.comparison.extras import need
from inarch_benchmarks.executors.executor import Executor, WorkerLost
from inarch_benchmarks.executors.job import compute, pack, unpack

T = TypeVar("T")

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would ask, and report over the network
    "RAY_worker_niceness": "0",  # 15 otherwise, which makes times incomparable with the other executors'
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its default changes soon, and it warns of that
}


class Ray(Executor):
    """A Ray cluster: that of ``RAY_ADDRESS`` or of ``ray start``, else one of this machine for the while.

    A job takes one CPU, and one GPU where the cluster has any. A cluster that is already there decides by itself how
    many jobs run at a time; ``workers`` is for the one that is made. Inarch must be installed on each of its machines.
    """

    name: ClassVar[str] = "ray"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._ray = need("ray", "ray")
        self._connect()
        gpus = 1 if self._ray.cluster_resources().get("GPU") else 0
        # A worker that dies is replaced by Ray; an error of the job comes back as an answer, so none is retried.
        self._compute = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=self.attempts - 1)(compute)
        self._waiting: dict[Any, Future[Any]] = {}

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Hand it to the cluster, which puts it in line."""
        reference = self._compute.remote(pack(function, arguments))
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # whether it has begun is known to the cluster alone
        self._waiting[reference] = future
        reference.future().add_done_callback(lambda answer: self._settle(reference, answer))
        return future

    def close(self, *, wait: bool) -> None:
        """Leave the cluster; one that was made for this ends."""
        try:
            while wait and self._waiting:
                self._ray.wait(list(self._waiting), num_returns=len(self._waiting), timeout=1.0)
        finally:
            for reference in list(self._waiting):
                self._ray.cancel(reference, force=True)
            self._ray.shutdown()
            while self._waiting:  # what Ray will not tell of any more
                _, future = self._waiting.popitem()
                future.set_exception(WorkerLost("The executor was closed before the job was done."))

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:  # with no address, or a cluster is joined that another session made for itself and ends with it
            self._ray.init(num_cpus=self.workers, include_dashboard=False, **quiet)
        except ValueError:  # there is a cluster, which has its own CPUs
            self._ray.init(**quiet)

    def _settle(self, reference: Any, answer: "Future[bytes]") -> None:
        """Give a job's future what Ray brought; called in a thread of Ray's."""
        future = self._waiting.pop(reference, None)
        if future is None:
            return
        try:
            future.set_result(unpack(answer.result()))
        except self._ray.exceptions.RayError as error:
            told = WorkerLost(f"Ray lost the worker in each of {self.attempts} attempts: {error}")
            told.__cause__ = error
            future.set_exception(told)
        except Exception as error:
            future.set_exception(error)
