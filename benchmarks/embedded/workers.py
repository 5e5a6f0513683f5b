"""Many adaptations over a few processes of one thread each."""

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from inarch import PluginWarning, TrainingError
from inarch_benchmarks.embedded.adaptation import Contender, Run, adapt
from inarch_benchmarks.embedded.network import load_backbone

MOST = 4
"""Processes at most: each holds about 0.5 GB, most of it torch and transformers."""


@dataclass(frozen=True)
class Job:
    """One adaptation to run.

    Attributes:
        contender: The method.
        seed: Of everything drawn by chance.
        steps: Optimizer steps.
        save_to: Folder for the adapter, if it is to be saved.
    """

    contender: Contender
    seed: int
    steps: int
    save_to: Path | None = None


def run_jobs(jobs: Sequence[Job], base: Path, workers: int, on_done: Callable[[Run], None]) -> list[Run]:
    """Run every job.

    Args:
        jobs: What to run.
        base: Folder of the pretrained base.
        workers: Number of processes; with one, the jobs run in this process.
        on_done: Called with every run as it ends, in any order.

    Returns:
        The runs, in the order of the jobs.

    Raises:
        TrainingError: A process was killed.
    """
    if workers == 1:
        with threads(1):
            return [_reported(_run(job, base), on_done) for job in jobs]
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start)
    try:
        futures = [pool.submit(_run, job, base) for job in jobs]
        for future in as_completed(futures):
            on_done(future.result())
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise TrainingError("A process of the demo was killed: each needs 0.5 GB of memory; free some.") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside, torch computes on ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start() -> None:
    """What a process begins with: one thread, and no second word on what its parent says."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", PluginWarning)


def _run(job: Job, base: Path) -> Run:
    return adapt(job.contender, job.seed, load_backbone(base), steps=job.steps, save_to=job.save_to)


def _reported(run: Run, on_done: Callable[[Run], None]) -> Run:
    on_done(run)
    return run
