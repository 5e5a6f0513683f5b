"""Files of a store that are either whole or not there."""

import os
from pathlib import Path

from inarch import InarchError, InarchWarning


class StoreError(InarchError, OSError):
    """A store that cannot be read, written or worked on."""


class StoreWarning(InarchWarning):
    """A file of a store that is damaged and was set aside."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside ``path`` and put it in its place, folders included.

    Raises:
        StoreError: It cannot be written, as on a full disk; what was at ``path`` is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror or error}). Nothing that was there is lost: make room, or see "
            f"who may write to {path.parent}, and run the same command again."
        ) from error


def set_aside(path: Path) -> Path | None:
    """Rename a damaged file to a free name beside it; None where that is not allowed."""
    number = 0
    while (aside := path.with_name(f"{path.name}.damaged{number or ''}")).exists():
        number += 1
    try:
        return path.rename(aside)
    except OSError:
        return None
