"""The parts of the data: what is trained on, what chooses the best adapter, what is measured at the end."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .config import DataConfig
from .table import Table, read_hub_table, read_table


@dataclass(frozen=True)
class Splits:
    """The tables of a run; ``test`` where the config names one."""

    train: Table
    validation: Table
    test: Table | None = None

    def tables(self) -> dict[str, Table]:
        """Every split by name."""
        return {"train": self.train, **self.measured()}

    def measured(self) -> dict[str, Table]:
        """The splits that metrics are reported of, by name."""
        everything = {"validation": self.validation, "test": self.test}
        return {name: table for name, table in everything.items() if table is not None}


def read_splits(data: DataConfig, seed: int) -> Splits:
    """Every table that the config names; a validation share is held out of the training rows.

    Raises:
        DataError: A table that cannot be read, is empty, lacks a column or has rows without a value.
    """
    train = _read(data, data.train)
    test = None if data.test is None else _read(data, data.test)
    if isinstance(data.validation, str):
        return Splits(train, _read(data, data.validation), test)
    kept, held_out = hold_out(train.column(data.label), data.validation, seed)
    if not held_out or not kept:
        raise DataError(
            f"{train.name} has {len(train)} rows: too few to hold out data.validation = {data.validation}. "
            "Give more rows, another share, or a validation file."
        )
    return Splits(train.take(kept, train.name), train.take(held_out, f"{train.name} (held out)"), test)


def hold_out(labels: Sequence[object], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Row numbers to keep and to hold out, in the table's order, with the share taken of every label alike.

    A label keeps at least one row, so that no held-out label is unseen in training.
    """
    rows_of: defaultdict[object, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        rows_of[label].append(index)
    shuffle = random.Random(seed).shuffle
    held_out: set[int] = set()
    for rows in rows_of.values():
        shuffle(rows)
        held_out.update(rows[: min(round(share * len(rows)), len(rows) - 1)])
    return [i for i in range(len(labels)) if i not in held_out], sorted(held_out)


def _read(data: DataConfig, place: str) -> Table:
    table = read_table(Path(place)) if data.dataset is None else read_hub_table(data.dataset, data.subset, place)
    for name in (*data.text, data.label):
        table.column(name)
    return table
