"""Slurm, through submitit."""

import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from inarch import ConfigError
from inarch_benchmarks.comparison.extras import need
from inarch_benchmarks.executors.job import compute
from inarch_benchmarks.executors.slots import SlotExecutor, WorkerDiedError

POLL = 0.5
"""Seconds between looks at a job; submitit asks Slurm itself once a minute at most."""

GRACE = 5.0
"""Seconds that the answer of an ended job is waited for: shared file systems show files late."""


class Slurm(SlotExecutor):
    """Slurm, through submitit: every job is one of the cluster's, of one CPU.

    ``workers`` is how many are in its queue at a time. Partition, account, time limit, memory and GPUs come from the
    variables that ``sbatch`` reads: ``SBATCH_PARTITION``, ``SBATCH_ACCOUNT``, ``SBATCH_TIMELIMIT``,
    ``SBATCH_MEM_PER_NODE``, ``SBATCH_GPUS``; without them a job has an hour and 4 GB. Inarch must be installed where
    the jobs run, and the folder be seen from there. Jobs outlive a command that is killed: ``scancel --name inarch``.

    Attributes:
        folder: For the files of the jobs; those of failed ones stay.
    """

    name: ClassVar[str] = "slurm"

    def __init__(self, workers: int, folder: Path = Path("inarch-slurm"), cluster: str = "slurm") -> None:
        super().__init__(workers)
        self.folder = folder.resolve()
        submitit = need("submitit", "slurm")
        try:
            self._cluster = submitit.AutoExecutor(folder=self.folder, cluster=cluster)
        except RuntimeError as error:
            raise ConfigError(f"The engine slurm needs sbatch and srun on this machine: {error}") from error
        self._cluster.update_parameters(name="inarch", timeout_min=60, mem_gb=4, cpus_per_task=1)
        self._lock = threading.Lock()  # submitit is not made for threads
        self._running: set[Any] = set()

    def compute(self, job: bytes) -> bytes:
        """Submit the job to the cluster and wait for its answer."""
        task = self._submit(job)
        while not self._ended(task):
            time.sleep(POLL)
        with self._lock:
            self._running.discard(task)
        return self._answer(task)

    def stop(self) -> None:
        """Cancel what is in the queue or runs."""
        with self._lock:
            for task in self._running:
                task.cancel(check=False)

    def _submit(self, job: bytes) -> Any:
        with self._lock:
            self._require_open()
            task = self._cluster.submit(compute, job)
            self._running.add(task)
            return task

    def _ended(self, task: Any) -> bool:
        with self._lock:
            self._require_open()
            return bool(task.done())

    def _require_open(self) -> None:
        if self.closed:
            raise WorkerDiedError("cancelled")

    def _answer(self, task: Any) -> bytes:
        """What the job wrote; then its files go."""
        end = time.monotonic() + GRACE
        while not task.paths.result_pickle.exists():
            if time.monotonic() > end:
                raise WorkerDiedError(f"{task.state.lower()} (see {task.paths.stderr})")
            time.sleep(POLL)
        if (failure := task.exception()) is not None:  # of submitit's own: errors of the job are answers
            raise WorkerDiedError(f"failed (see {task.paths.stderr})") from failure
        answer: bytes = task.result()
        for file in self.folder.glob(f"{task.job_id}_*"):
            file.unlink(missing_ok=True)
        return answer
