"""The store of runs: one JSON file a run, named by the hash of its specification."""

import json
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from inarch import ConfigError
from inarch_benchmarks.comparison.files import StoreError, StoreWarning, set_aside, write_whole
from inarch_benchmarks.comparison.garbage import kept
from inarch_benchmarks.comparison.lock import exclusive
from inarch_benchmarks.comparison.record import VERSION, RunRecord

if TYPE_CHECKING:
    from inarch_benchmarks.comparison.index import Index

ABANDONED = 3600
"""Seconds after which a half-written file belongs to a process that was killed."""


class RunStore:
    """Runs in a folder: ``runs/<first two digits>/<id>.json``. Everything else in it follows from these files.

    A file that cannot be read as a record is renamed and warned about, never deleted: its run counts as not done.

    Args:
        folder: It need not exist; it is made when something is written.

    Raises:
        StoreError: It was written by a newer version.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.runs = self.folder / "runs"
        self.unfinished = self.folder / "unfinished"
        self._about = self.folder / "store.json"
        self._check_version()

    @property
    def index(self) -> "Index":
        """The table over the runs, for queries and exports."""
        from inarch_benchmarks.comparison.index import Index

        return Index(self)

    def path(self, id: str) -> Path:
        """Where the record of that run is, or would be."""
        return self.runs / id[:2] / f"{id}.json"

    def has(self, id: str) -> bool:
        """Whether there is a record; whether it can be read is known when it is."""
        return self.path(id).is_file()

    def get(self, id: str) -> RunRecord | None:
        """The record of a run; None where there is none, or a damaged one, which is set aside.

        Raises:
            StoreError: It was written by a newer version, or may not be read.
        """
        path = self.path(id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}).") from error
        try:
            record = RunRecord.model_validate_json(content)
        except ValidationError as error:
            _refuse_newer(_version(content), path)
            self._damaged(path, str(error).splitlines()[0])
            return None
        _refuse_newer(record.version, path)
        if record.id != id:
            self._damaged(path, f"it holds run {record.id}")
            return None
        return record

    def put(self, record: RunRecord) -> None:
        """Write a record, in the place of an earlier one of the same specification.

        Raises:
            ConfigError: Its id is not that of its specification.
            StoreError: It cannot be written, as on a full disk; what was there is still there.
        """
        if record.id != record.specification.id:
            raise ConfigError(f"The record {record.id} is of the specification {record.specification.id}.")
        self._begin()
        # Not model_dump_json: pydantic writes a loss that is not a number as null there, and does not read it back.
        text = json.dumps(record.model_dump(mode="json"), separators=(",", ":"))
        write_whole(self.path(record.id), text.encode())

    def ids(self) -> list[str]:
        """The ids of all runs, in order."""
        return sorted(path.name.removesuffix(".json") for path in self.runs.glob("??/[!.]*.json"))

    def records(self, ids: Iterable[str] | None = None) -> Iterator[RunRecord]:
        """The records of these runs, or of all; ids without a record are passed over."""
        for id in self.ids() if ids is None else ids:
            record = self.get(id)
            if record is not None:
                yield record

    def load(self, ids: Iterable[str] | None = None) -> dict[str, RunRecord]:
        """The records of these runs, or of all, by id, at once; ids without a record are passed over."""
        with kept():
            return {record.id: record for record in self.records(ids)}

    def query(self, sql: str) -> Any:
        """What DuckDB answers to ``sql`` over the table ``runs``; see ``Index.query``."""
        return self.index.query(sql)

    def export(self, path: Path) -> int:
        """Write the table of runs to a ``.csv``, ``.jsonl`` or ``.parquet`` file; see ``Index.export``."""
        return self.index.export(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Inside, no other process works on this store.

        Raises:
            StoreError: Another one does.
        """
        with exclusive(self.folder / "store.lock"):
            self._begin()
            self._sweep()
            yield

    def _begin(self) -> None:
        """Say of which version the store is, before the first record."""
        if not self._about.exists():
            write_whole(self._about, json.dumps({"version": VERSION}).encode())

    def _check_version(self) -> None:
        try:
            content = self._about.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self._about} cannot be read ({error.strerror}).") from error
        version = _version(content)
        if version is None:  # every record says its own version as well
            self._damaged(self._about, "it names no version")
        _refuse_newer(version, self.folder)

    def _damaged(self, path: Path, reason: str) -> None:
        aside = set_aside(path)
        kept = f"it is now {aside.name}" if aside else "and may not be renamed"
        warnings.warn(f"{path} is damaged, {kept}: {reason}.", StoreWarning, stacklevel=3)

    def _sweep(self) -> None:
        """Remove what killed processes were writing."""
        for path in self.runs.glob("??/.*.tmp"):
            with suppress(OSError):  # another sweep may come first
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def _version(content: bytes) -> int | None:
    """The version that a file names, whatever else is in it."""
    try:
        told = json.loads(content)
    except ValueError:
        return None
    version = told.get("version") if isinstance(told, dict) else None
    return version if isinstance(version, int) else None


def _refuse_newer(version: int | None, path: Path) -> None:
    if version is not None and version > VERSION:
        raise StoreError(
            f"{path} was written by a newer Inarch: its form is version {version}, and this one knows up to {VERSION}. "
            "Nothing was changed. Update Inarch, or name another store."
        )
