"""The journal: a file of Optuna's to which many processes append, and which any of them may be killed while writing."""

import os
from pathlib import Path
from typing import Any

from inarch_benchmarks.comparison.extras import need


def open_journal(path: Path) -> Any:
    """Optuna's storage in a file, which is made where there is none. One is enough for all searches of a process.

    Raises:
        ConfigError: Optuna is not installed.
    """
    optuna = need("optuna", "bench")
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a line for every study and trial otherwise
    journal = optuna.storages.journal
    path.parent.mkdir(parents=True, exist_ok=True)
    lock: Any = KernelLock(path)
    try:
        lock.acquire()
        lock.release()
    except (ImportError, OSError):  # Windows, or a file system without flock
        lock = journal.JournalFileOpenLock(str(path))
    return optuna.storages.JournalStorage(journal.JournalFileBackend(str(path), lock_obj=lock))


class KernelLock:
    """The right to append to a journal, which the kernel takes back from a process that dies.

    Optuna's own locks are files that a killed process leaves behind: the next one waits 30 seconds for it. And a line
    that a killed process, or a full disk, has left unfinished makes the journal unreadable once another is appended;
    here it is cut off first. What it would have said was never reported as done.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Wait for the right."""
        import fcntl

        descriptor = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _cut_unfinished(self._path)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


def _cut_unfinished(path: Path) -> None:
    """Cut off a last line that has no end."""
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
