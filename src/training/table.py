"""Rows of examples, read from a local file or from the Hugging Face hub."""

import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError, suggestion


@dataclass(frozen=True)
class Table:
    """Rows and what an error message calls the place they come from.

    Attributes:
        name: The file or split.
        rows: One mapping a row, from column to value; every row has the same columns.
    """

    name: str
    rows: Sequence[Mapping[str, Any]] = field(repr=False)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def column(self, name: str) -> list[Any]:
        """The values of a column, none of which is missing.

        Raises:
            DataError: No such column, or a row without a value in it.
        """
        if name not in self.rows[0]:
            raise DataError(f'{self.name} has no column "{name}": {suggestion(name, map(str, self.rows[0]))}')
        values = [row.get(name) for row in self.rows]
        if None in values:
            raise DataError(
                f'{self.name}: row {values.index(None) + 1} has no value in column "{name}". Fill it in or drop it.'
            )
        return values

    def take(self, indices: Sequence[int], name: str) -> "Table":
        """Some of the rows under a name of their own."""
        return Table(name, [self.rows[index] for index in indices])

    def fingerprint(self, columns: Sequence[str]) -> str:
        """A SHA-256 over the values of some columns: equal data have equal fingerprints, whatever file they lie in."""
        digest = hashlib.sha256()
        for values in zip(*(self.column(name) for name in columns), strict=True):
            digest.update(json.dumps([str(value) for value in values]).encode())
        return digest.hexdigest()


def read_table(path: Path) -> Table:
    """The rows of a CSV, TSV, JSONL, JSON or Parquet file. Values of CSV and TSV files stay text, ``NA`` included.

    Raises:
        DataError: No such file, an ending that is not known, content that is not what the ending says, or no rows.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise DataError(f'{path}: cannot tell the format from the ending "{path.suffix}". Known endings: {known}.')
    try:
        rows = reader(path)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    if not rows:
        raise DataError(f"{path} holds no rows. Give a file with a row for each example.")
    return Table(str(path), rows)


def read_hub_table(dataset: str, subset: str | None, split: str) -> Table:
    """The rows of one split of a dataset on the Hugging Face hub; class labels become their names.

    Raises:
        DataError: No such dataset, subset or split, or no way to reach the hub.
    """
    import datasets

    name = f"{dataset}/{subset}:{split}" if subset else f"{dataset}:{split}"
    try:
        loaded = datasets.load_dataset(dataset, subset, split=split)
    except Exception as error:  # the hub client raises errors of many libraries, none of which is to reach the user
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"Cannot load {name} from the Hugging Face hub: {first_line} "
            "Check the id, the split and the connection, or give local files."
        ) from error
    if not len(loaded):
        raise DataError(f"{name} holds no rows. Choose another split.")
    names = {column: feature.names for column, feature in loaded.features.items() if hasattr(feature, "names")}
    return Table(name, [_with_class_names(row, names) for row in loaded])


def _with_class_names(row: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    # -1 is the hub's mark of a row whose label is kept secret.
    return {
        column: (names[column][value] if value is not None and value >= 0 else None) if column in names else value
        for column, value in row.items()
    }


def _read_separated(path: Path, delimiter: str) -> list[dict[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default, 128 KiB, is shorter than some documents
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        try:
            return [_full_row(path, reader.line_num, row) for row in reader]
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}. Check the quotes and the delimiter.") from error


def _full_row(path: Path, line: int, row: dict[Any, Any]) -> dict[str, Any]:
    # DictReader files surplus values under None, and gives None for values that a short line lacks.
    if None in row or None in row.values():
        count = len(row) - 1 + len(row[None]) if None in row else sum(value is not None for value in row.values())
        expected = len(row) - (None in row)
        raise DataError(f"{path}, line {line} has {count} values for {expected} columns. Check its quotes and commas.")
    return row


def _read_csv(path: Path) -> list[dict[str, Any]]:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> list[dict[str, Any]]:
    return _read_separated(path, "\t")


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as lines:
        return list(_objects(path, lines))


def _objects(path: Path, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number} is not JSON: {error.msg}. Write one object a line.") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} is no object: write it as {{...}} with a key for each column.")
        yield row


def _read_json(path: Path) -> list[dict[str, Any]]:
    """A list of objects, or JSON lines under the ending of JSON, as many data sets are."""
    text = path.read_text(encoding="utf-8-sig")
    if not text.lstrip().startswith("["):
        return _read_json_lines(path)
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno} is not JSON: {error.msg}.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} is no list of objects: write [{{...}}, ...] with a key for each column.")
    return list(rows)


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    if not path.stat().st_size:
        return []
    try:
        with path.open("rb") as file:
            return list(pyarrow.parquet.read_table(file).to_pylist())
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from error


_READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
