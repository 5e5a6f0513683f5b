"""This process."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ClassVar, TypeVar

import torch

from inarch import ConfigError
from inarch_benchmarks.executors.executor import Executor

T = TypeVar("T")


class Here(Executor):
    """This process, one job after the other as they are submitted: for debuggers and profilers."""

    name: ClassVar[str] = "here"

    def __init__(self, workers: int = 1) -> None:
        super().__init__(workers)
        if workers != 1:
            raise ConfigError(f"The number of workers is {workers}: the engine {self.name} has 1; use the engine pool.")

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Compute it now, with nothing pickled."""
        future: Future[T] = Future()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        finally:
            torch.set_num_threads(threads)
        return future

    def close(self, *, wait: bool) -> None:
        """There is nothing to wait for."""
