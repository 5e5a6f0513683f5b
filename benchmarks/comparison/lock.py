"""A lock that one process holds and the kernel takes back when that process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inarch_benchmarks.comparison.files import StoreError

_HELD: set[Path] = set()
"""Locks of this process: the kernel would grant them to it a second time."""


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of the file ``path`` inside the block.

    The lock is one of the process, not of the open file: children that were forked meanwhile do not keep it alive.

    Raises:
        StoreError: It is held already; the message names the process.
    """
    place = path.resolve()
    if place in _HELD:  # asked before it is opened: closing a second descriptor would release the lock
        raise StoreError(_refusal(path, str(os.getpid())))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StoreError(f"{path} cannot be opened ({error.strerror}), and no run begins without this lock.") from error
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(_refusal(path, os.read(descriptor, 20).decode(errors="replace").strip())) from error
        _HELD.add(place)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        _HELD.discard(place)
        os.close(descriptor)


def _refusal(path: Path, process: str) -> str:
    return (
        f"Another run works on {path.parent} (process {process or 'unknown'}). Wait until it has ended, or stop it: "
        "what it has finished is kept, and the next run goes on from there."
    )
