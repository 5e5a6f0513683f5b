"""Slots: threads that each see one job at a time through its attempts, wherever it is computed."""

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from inarch_benchmarks.executors.executor import Executor, WorkerLost
from inarch_benchmarks.executors.job import pack, unpack

T = TypeVar("T")


class WorkerDiedError(Exception):
    """A worker is gone, and its job with it; the message says how it ended."""


class SlotExecutor(Executor):
    """An executor with a thread for each worker: that thread alone sees it die, so no other job is concerned."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self.closed = False
        self._slots = ThreadPoolExecutor(workers, thread_name_prefix=f"inarch-{self.name}")

    @abstractmethod
    def compute(self, job: bytes) -> bytes:
        """Have a packed job computed and wait for its packed answer.

        Raises:
            WorkerDiedError: Its worker did.
        """

    @abstractmethod
    def stop(self) -> None:
        """End every worker, whatever it is doing."""

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Put the job in line for a slot."""
        return self._slots.submit(self._see_through, pack(function, arguments))

    def close(self, *, wait: bool) -> None:
        """End the slots, then the workers."""
        try:
            if wait:
                self._slots.shutdown()
        finally:  # Ctrl-C may come while waiting
            self.closed = True
            self._slots.shutdown(wait=False, cancel_futures=True)
            self.stop()
            self._slots.shutdown()

    def _see_through(self, job: bytes) -> Any:
        ends: list[str] = []
        while len(ends) < self.attempts:
            if self.closed:
                raise WorkerLost("The executor was closed before the job was done.")
            try:
                return unpack(self.compute(job))
            except WorkerDiedError as died:
                ends.append(str(died))
        raise WorkerLost(
            f"The worker died in each of {self.attempts} attempts: {', '.join(ends)}. Most often memory has run out: "
            "use fewer workers, or compute a batch in more parts (accumulation)."
        )
