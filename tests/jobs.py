"""Jobs for the tests of executors; a module of its own, since workers import it."""

import os
import signal
import time
from pathlib import Path

import torch

from inarch import TrainingError


def threads() -> int:
    """How many threads torch computes on."""
    return torch.get_num_threads()


def process() -> int:
    """Where it is computed."""
    return os.getpid()


def fail(message: str) -> None:
    """Raise an error of Inarch's."""
    raise TrainingError(message)


class AwkwardError(Exception):
    """An error that pickles but does not come back."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def fail_awkwardly() -> None:
    """Raise an error that cannot be carried over."""
    raise AwkwardError("left", "right")


def wait_until(file: Path, seconds: float = 30.0) -> int:
    """Wait for a file; returns the process."""
    end = time.monotonic() + seconds
    while not file.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"{file} did not come")
        time.sleep(0.02)
    return os.getpid()


def knock_and_wait(file: Path) -> int:
    """Say by a file beside it that it is waited for."""
    file.with_suffix(".knock").touch()
    return wait_until(file, 60.0)


def killed_at_first(folder: Path, tries: int) -> int:
    """Die by SIGKILL in the middle, in the first ``tries`` attempts; returns how many there were."""
    attempt = len(list(folder.iterdir())) + 1
    (folder / str(attempt)).touch()
    time.sleep(0.1)
    if attempt <= tries:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt
