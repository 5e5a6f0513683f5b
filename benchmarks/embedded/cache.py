"""The user's cache folder, and folders in it that are whole and unchanged or not used at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inarch import ConfigError

RECORD = "record.json"


def cache_folder() -> Path:
    """``$INARCH_CACHE``, else ``$XDG_CACHE_HOME/inarch``, else ``~/.cache/inarch``."""
    if own := os.environ.get("INARCH_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "inarch"


def require_writable(folder: Path, remedy: str) -> None:
    """Make ``folder`` and write a file into it, before work is spent on what should go there.

    Raises:
        ConfigError: It cannot be made or written to; the message ends with the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written to ({error.strerror}): {remedy}.") from error


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(folder: Path, fill: Callable[[Path], dict[str, Any]]) -> None:
    """Write a folder beside its place and move it there in one step, with its record and the checksum of every file.

    Args:
        folder: Its place; what stood there is dropped.
        fill: Writes the files into the folder it is given and returns what the record should hold.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        fresh, old = Path(scratch, "fresh"), Path(scratch, "old")
        fresh.mkdir()
        record = fill(fresh)
        files = {path.name: sha256_of_file(path) for path in sorted(fresh.iterdir())}
        (fresh / RECORD).write_text(json.dumps({**record, "sha256": files}, indent=2), encoding="utf-8")
        if folder.exists():
            folder.replace(old)
        try:
            fresh.replace(folder)
        except OSError:
            # Another process put the same folder there in between: that one is as good.
            if read_record(folder) is None:
                raise


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a published folder; ``None`` if a file of it is missing, damaged or changed."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = all(sha256_of_file(folder / name) == checksum for name, checksum in record["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None
