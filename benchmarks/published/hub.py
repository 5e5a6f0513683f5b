"""Rows of data sets on the Hugging Face hub, or of the same rows in a folder of your own."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inarch import DataError
from inarch.training import Table
from inarch.training.table import read_table

VARIABLE = "INARCH_DATA"
"""Names a folder with ``<dataset>/<subset>/<split>.parquet`` or ``.jsonl``; what is there is not asked of the hub."""

_ENDINGS = (".parquet", ".jsonl")


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    Attributes:
        dataset: Its id on the hub.
        subset: Of the data set; None where it has none.
        name: Of the split.
        revision: Branch or commit; the main one where it is left out.
    """

    dataset: str
    subset: str | None
    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.place}:{self.name}"

    @property
    def place(self) -> str:
        """The data set with its subset."""
        return f"{self.dataset}/{self.subset}" if self.subset else self.dataset


def read(split: Split) -> Table:
    """The rows of a split, with the column names of the hub; class labels are numbers, as they are there.

    Raises:
        DataError: Neither the folder nor the hub has them; the message says how to point to files.
    """
    return _read(split, os.environ.get(VARIABLE) or None)


@lru_cache(maxsize=8)
def _read(split: Split, folder: str | None) -> Table:
    if folder is not None:
        if not Path(folder).is_dir():
            raise DataError(
                f"{VARIABLE} is {folder}, which is no folder. Give one that holds the data sets, or unset it."
            )
        for file in (_file(split, folder, ending) for ending in _ENDINGS):
            if file.is_file():
                return Table(str(split), read_table(file).rows)
    return Table(str(split), _from_hub(split, folder))


def _file(split: Split, folder: str, ending: str) -> Path:
    return Path(folder, split.place, f"{split.name}{ending}")


def _from_hub(split: Split, folder: str | None) -> list[dict[str, Any]]:
    import datasets

    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(split.dataset, split.subset, split=split.name, revision=split.revision)
    except Exception as error:  # the hub client raises errors of many libraries
        lines = str(error).strip().splitlines()
        reason = (lines[0] if lines else type(error).__name__).rstrip(".")
        wanted = " or ".join(str(_file(split, folder or f"${VARIABLE}", ending)) for ending in _ENDINGS)
        raise DataError(
            f"Cannot load {split} from the Hugging Face hub: {reason}. Check the connection, or set {VARIABLE} to a "
            f"folder with its rows in {wanted}."
        ) from error
    finally:
        if bars:
            datasets.enable_progress_bars()
    rows: list[dict[str, Any]] = loaded.to_list()
    return rows
