"""Atomic writing: after a kill at any moment there is the old folder or the new one, never half of either."""

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2), Linux 3.15
_AT_FDCWD = -100


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Write files into ``folder`` so that they appear together or not at all.

    The files are written beside it, together with what else the folder held, and the two folders change places in one
    step. Where the system cannot exchange two folders, the old one is set aside as ``<folder>.previous`` for the moment
    between two renames; ``settled`` puts it back after a kill in that moment.

    Args:
        folder: The folder to write; made if it is missing.
        fill: Writes the files into the folder it is given.

    Raises:
        CheckpointError: The folder cannot be written; it is as it was.
    """
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        settled(folder)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror}.") from error
    try:
        fresh.chmod(0o755)  # mkdtemp makes private folders; a checkpoint is as readable as any other
        if folder.exists():
            shutil.copytree(folder, fresh, copy_function=_link, dirs_exist_ok=True)
        fill(fresh)
        _take_place(fresh, folder)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Write one file into a folder that is not visible yet, through to the disk; an older link is left alone."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def settled(folder: Path) -> Path:
    """``folder``, after putting back what a kill left set aside."""
    previous = folder.with_name(f"{folder.name}.previous")
    if previous.exists() and not folder.exists():
        previous.rename(folder)
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _take_place(fresh: Path, folder: Path) -> None:
    if not folder.exists():
        fresh.rename(folder)
    elif not _exchanged(fresh, folder):
        previous = folder.with_name(f"{folder.name}.previous")
        folder.rename(previous)
        fresh.rename(folder)
        shutil.rmtree(previous)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system could let two folders change places in one step."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0)
