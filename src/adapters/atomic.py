"""Atomic writing: after a kill at any moment there is the old folder or the new one, never half of either.

A kill of the process, that is. What a power failure leaves is up to the file system: waiting for the disk (fsync) would
take as long as all the rest of a save.
"""

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from ..errors import CheckpointError

Buffer: TypeAlias = bytes | memoryview

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2), Linux 3.15
_AT_FDCWD = -100


def write_folder(folder: Path, files: Mapping[str, Iterable[Buffer]]) -> None:
    """Write files into ``folder`` so that they appear together or not at all.

    The files are written beside it, together with what else the folder held, and the two folders change places in one
    step. Where the system cannot exchange two folders, the old one is set aside as ``<folder>.previous`` for the moment
    between two renames; ``settled`` puts it back after a kill in that moment.

    Args:
        folder: The folder to write; made if it is missing.
        files: Content of the files by name, in pieces; ``name/file`` puts one into a folder, which is written anew.

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
            _carry_over(folder, fresh, {name.split("/")[0] for name in files})
        for name, pieces in files.items():
            (fresh / name).parent.mkdir(exist_ok=True)
            _write_file(fresh / name, pieces)
        _take_place(fresh, folder)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def settled(folder: Path) -> Path:
    """``folder``, after putting back what a kill left set aside."""
    previous = folder.with_name(f"{folder.name}.previous")
    if previous.exists() and not folder.exists():
        previous.rename(folder)
    return folder


def _write_file(path: Path, pieces: Iterable[Buffer]) -> None:
    with path.open("wb") as file:
        file.writelines(pieces)


def _carry_over(folder: Path, fresh: Path, replaced: Container[str]) -> None:
    """Give the new folder what else the old one held."""
    for entry in os.scandir(folder):
        if entry.name not in replaced and entry.is_dir():
            shutil.copytree(entry, fresh / entry.name, copy_function=_link)
        elif entry.name not in replaced:
            _link(entry.path, str(fresh / entry.name))


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
