"""The diary of a run: its rows as JSON lines while they come, so that a run that was ended goes on where it was."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from inarch_benchmarks.arena.arena import Row
from inarch_benchmarks.arena.catalogue import Entry


class Diary:
    """The rows that are done, in a file.

    Args:
        path: The file.
        methods: The methods of the run; rows of others are not taken for its own.
    """

    def __init__(self, path: Path, methods: Sequence[str]) -> None:
        self.path = path
        self.methods = set(methods)

    def rows(self, entries: Iterable[Entry]) -> list[Row]:
        """The rows of ``entries`` that are done; a line that was not written to its end counts for nothing."""
        known = {entry.key: entry for entry in entries}
        found: dict[str, Row] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                told = json.loads(line)
            except json.JSONDecodeError:
                continue
            if told["key"] in known and (told["unbuilt"] or told["cells"].keys() == self.methods):
                found[told["key"]] = Row.from_dict(known[told["key"]], told)
        return list(found.values())

    def note(self, row: Row) -> None:
        """Write a row down."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row.to_dict()) + "\n")

    def close(self) -> None:
        """The run is over, and its results are written."""
        self.path.unlink(missing_ok=True)
