from collections import Counter
from pathlib import Path

import pytest

from inarch.errors import DataError
from inarch.training.config import DataConfig
from inarch.training.splits import hold_out, read_splits

from runs import rows, write_csv


def test_a_share_is_held_out_of_every_label() -> None:
    labels = ["a"] * 80 + ["b"] * 20
    kept, held_out = hold_out(labels, 0.25, seed=0)
    assert sorted([*kept, *held_out]) == list(range(100))
    assert Counter(labels[index] for index in held_out) == {"a": 20, "b": 5}


def test_the_seed_draws_the_share() -> None:
    labels = ["a", "b"] * 50
    assert hold_out(labels, 0.2, seed=1) == hold_out(labels, 0.2, seed=1)
    assert hold_out(labels, 0.2, seed=1) != hold_out(labels, 0.2, seed=2)


def test_a_label_is_never_held_out_whole() -> None:
    kept, _ = hold_out(["a"] * 10 + ["b"], 0.9, seed=0)
    assert 10 in kept


def test_files(tmp_path: Path) -> None:
    train, test = write_csv(tmp_path / "train.csv", rows(20)), write_csv(tmp_path / "test.csv", rows(4))
    splits = read_splits(DataConfig(train=str(train), validation=0.2, test=str(test)), seed=0)
    assert (len(splits.train), len(splits.validation)) == (16, 4)
    assert list(splits.measured()) == ["validation", "test"]
    assert "(held out)" in splits.validation.name


def test_too_few_rows_to_hold_out(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", rows(2))
    with pytest.raises(DataError, match="has 2 rows: too few to hold out"):
        read_splits(DataConfig(train=str(train)), seed=0)


def test_every_table_is_checked(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", rows(4))
    other = write_csv(tmp_path / "validation.csv", [{"sentence": "a", "label": "good"}])
    with pytest.raises(DataError, match=r'validation.csv has no column "text"'):
        read_splits(DataConfig(train=str(train), validation=str(other)), seed=0)
