"""A pool of processes of this machine."""

import os
import signal
import threading
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import ClassVar

import torch

from inarch_benchmarks.executors.job import compute
from inarch_benchmarks.executors.slots import SlotExecutor, WorkerDiedError

PATIENCE = 5.0
"""Seconds that an idle worker is given to leave by itself."""


class ProcessPool(SlotExecutor):
    """Processes of this machine, one thread each; on several GPUs the workers are spread over them.

    ``concurrent.futures.ProcessPoolExecutor`` fails every job when one process dies and cannot tell which job killed
    it; here each process has a pipe of its own, so that it is known which job a dead one had.
    """

    name: ClassVar[str] = "pool"

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._lock = threading.Lock()
        self._all: set[_Worker] = set()
        self._idle: list[_Worker] = []

    def compute(self, job: bytes) -> bytes:
        """Give the job to a worker that waits, or to a new one."""
        worker = self._take()
        try:
            answer = worker.compute(job)
        except WorkerDiedError:
            with self._lock:
                self._all.discard(worker)
            raise
        with self._lock:
            self._idle.append(worker)
        return answer

    def stop(self) -> None:
        """Let the idle workers go, kill those that compute."""
        with self._lock:
            workers, idle = list(self._all), set(self._idle)
            self._all.clear()
            self._idle.clear()
        for worker in workers:
            worker.dismiss() if worker in idle else worker.kill()
        for worker in workers:
            worker.join()

    def _take(self) -> "_Worker":
        with self._lock:
            if self.closed:
                raise WorkerDiedError("the executor was closed")
            worker = self._idle.pop() if self._idle else _Worker(self._free_number())
            self._all.add(worker)
            return worker

    def _free_number(self) -> int:
        taken = {worker.number for worker in self._all}
        return next(number for number in range(self.workers + 1) if number not in taken)


class _Worker:
    """One process and the pipe to it; its number decides which GPU it has."""

    def __init__(self, number: int) -> None:
        self.number = number
        context = get_context("spawn")  # a fork of a process with threads, or with CUDA begun, may hang
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, gpu_of(number)))
        self._process.start()
        theirs.close()  # so that the pipe ends when the process does

    def compute(self, job: bytes) -> bytes:
        try:
            self._pipe.send_bytes(job)
            return self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            self.kill()
            self.join()
            raise WorkerDiedError(_end(self._process.exitcode)) from error

    def dismiss(self) -> None:
        self._pipe.close()

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def gpu_of(number: int) -> str | None:
    """The GPU of a worker, as ``CUDA_VISIBLE_DEVICES`` calls it; None where there are no two to choose from."""
    gpus = torch.cuda.device_count()
    if gpus < 2:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (visible.split(",") if visible else [str(gpu) for gpu in range(gpus)])[number % gpus]


def _serve(pipe: "Connection[bytes, bytes]", gpu: str | None) -> None:
    """The life of a worker: jobs until the pipe ends."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # CUDA reads it at its first use, which no import makes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent decides what follows
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(compute(job))


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on with a run that another may begin anew."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"
