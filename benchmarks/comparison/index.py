"""The index of a store: a Parquet table with a row a run, which follows from the records and can be deleted."""

import csv
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from inarch import ConfigError
from inarch_benchmarks.comparison.extras import need
from inarch_benchmarks.comparison.files import StoreError, write_whole
from inarch_benchmarks.comparison.flat import COLUMNS, flat

if TYPE_CHECKING:
    from inarch_benchmarks.comparison.store import RunStore

FORM = {b"inarch.index": b"1"}
"""In the file's metadata: of the columns; an index of another form is built anew."""

CHANGED = "changed"
"""A column of the file alone: when the record was written and its size, which tell whether the row still holds."""

BATCH = 2000
"""Records that are read into a table at a time."""


class Index:
    """A table over the runs of a store.

    Args:
        store: Whose runs.
    """

    def __init__(self, store: "RunStore") -> None:
        self.store = store
        self.path = store.folder / "index.parquet"

    def table(self) -> Any:
        """A pyarrow table with a row a run, ordered by id. Only records that are new since the last time are read."""
        states = self._states()
        known = self._known()
        held = dict(zip(known["id"].to_pylist(), known[CHANGED].to_pylist(), strict=True))
        new = sorted(id for id, state in states.items() if held.get(id) != state)
        stale = {id for id, state in held.items() if states.get(id) != state}
        if stale:
            known = known.filter(pyarrow.compute.invert(pyarrow.compute.is_in(known["id"], pyarrow.array(stale))))
        if new:
            # In batches: a hundred thousand records at once would keep Python's garbage collector busy.
            batches = [self._rows(new[start : start + BATCH], states) for start in range(0, len(new), BATCH)]
            known = pyarrow.concat_tables([known, *batches], promote_options="default")
        known = known.sort_by("id")
        if new or stale:
            self._save(known)
        return known.drop_columns([CHANGED])

    def query(self, sql: str) -> list[dict[str, Any]]:
        """What DuckDB answers to a query over the table ``runs``, which it cannot change.

        Args:
            sql: Such as ``SELECT method, avg(test_accuracy) FROM runs GROUP BY method``.

        Raises:
            ConfigError: DuckDB is not installed, or does not understand the query.
        """
        duckdb = need("duckdb", "bench")
        with duckdb.connect(":memory:") as connection:
            connection.register("runs", self.table())
            try:
                # Only the table: no files, no variables of this process.
                connection.execute("SET enable_external_access = false; SET python_enable_replacements = false")
                answer = connection.execute(sql)
                names = [column[0] for column in answer.description or ()]
                return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
            except duckdb.Error as error:
                raise ConfigError(f"DuckDB refused the query {sql!r}: {error}") from error

    def export(self, path: Path) -> int:
        """Write the table to a file whose ending says how, ``.csv``, ``.jsonl`` or ``.parquet``; gives its rows.

        Raises:
            ConfigError: The ending is another one.
            StoreError: The file cannot be written.
        """
        writers = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
        if path.suffix not in writers:
            raise ConfigError(f"Cannot export to {path.name}: the ending must be one of {', '.join(writers)}.")
        table = self.table()
        write_whole(path, writers[path.suffix](table))
        return len(table)

    def _rows(self, ids: list[str], states: dict[str, str]) -> Any:
        return _table({**flat(record), CHANGED: states[record.id]} for record in self.store.records(ids))

    def _states(self) -> dict[str, str]:
        """When each record was written, and its size."""
        states = {}
        with suppress(FileNotFoundError):
            for folder in os.scandir(self.store.runs):
                for file in os.scandir(folder) if folder.is_dir() else ():
                    if file.name.endswith(".json") and not file.name.startswith("."):
                        about = file.stat()
                        states[file.name.removesuffix(".json")] = f"{about.st_mtime_ns} {about.st_size}"
        return states

    def _known(self) -> Any:
        """What the file holds; nothing where there is none, or one that cannot be used."""
        with suppress(OSError, pyarrow.ArrowException):
            held = pyarrow.parquet.read_table(self.path)
            if (held.schema.metadata or {}).items() >= FORM.items():
                return held
        return _table(())

    def _save(self, table: Any) -> None:
        with suppress(StoreError):  # read-only or full: the table was worked out all the same
            write_whole(self.path, _parquet(table))


def _table(rows: Iterable[dict[str, Any]]) -> Any:
    """A table of rows: the columns that there always are, and those of their metrics."""
    rows = list(rows)
    types = COLUMNS | {CHANGED: "string"}
    metrics = sorted({name for row in rows for name in row} - types.keys())
    arrow = {"string": pyarrow.string(), "int64": pyarrow.int64(), "double": pyarrow.float64(), "bool": pyarrow.bool_()}
    fields = [(name, arrow[kind]) for name, kind in types.items()] + [(name, pyarrow.float64()) for name in metrics]
    columns = {name: pyarrow.array([row.get(name) for row in rows], kind) for name, kind in fields}
    return pyarrow.table(columns, pyarrow.schema(fields, metadata=FORM))


def _parquet(table: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _json_lines(table: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode()


def _csv(table: Any) -> bytes:
    from io import StringIO

    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(table.column_names)
    writer.writerows(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return text.getvalue().encode()
