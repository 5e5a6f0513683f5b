"""The contract of an executor: it computes jobs somewhere and gives their results back."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from inarch import ConfigError, TrainingError

T = TypeVar("T")


class WorkerLost(TrainingError):  # noqa: N818 - it says what has become of the worker
    """A job whose worker died in every attempt; other jobs go on."""


class Executor(ABC):
    """Computes jobs, several at a time; a context manager.

    An error of a job is raised by its future with its type and message, and is not tried again. A worker that dies,
    killed or out of memory, costs no job but its own, which is tried ``attempts`` times before it is ``WorkerLost``.
    Every worker computes on one thread of torch, so that a run gives the same figures on any executor.

    Leaving the context without an error waits for every job; leaving it by one (Ctrl-C too) drops those that wait and
    stops those that run.

    Attributes:
        name: What ``--engine`` calls it.
        attempts: How often a job is tried whose workers die.
        workers: How many jobs are computed at a time.
    """

    name: ClassVar[str]
    attempts: ClassVar[int] = 3

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"The number of workers is {workers}: it must be at least 1.")
        self.workers = workers

    @abstractmethod
    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Have ``function(*arguments)`` computed.

        Args:
            function: Of the top level of a module that workers can import.
            arguments: Whatever pickles.

        Returns:
            The future of its result. Cancelling drops a job that has not begun.
        """

    @abstractmethod
    def close(self, *, wait: bool) -> None:
        """Take no more jobs.

        Args:
            wait: Whether jobs are finished; if not, those that wait are dropped and those that run are stopped.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(wait=kind is None)
