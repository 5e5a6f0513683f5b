import fcntl
from pathlib import Path

import pytest

from inarch_benchmarks.tuning.journal import KernelLock, open_journal

optuna = pytest.importorskip("optuna")


def test_a_line_that_was_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    optuna.create_study(storage=open_journal(path), study_name="one")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 0, "work')
    optuna.create_study(storage=open_journal(path), study_name="two")
    assert path.read_bytes().startswith(whole)
    assert optuna.study.get_all_study_names(open_journal(path)) == ["one", "two"]


def test_also_in_the_life_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    storage = open_journal(path)
    with path.open("ab") as file:
        file.write(b'{"op')  # the disk was full
    optuna.create_study(storage=storage, study_name="one")
    assert optuna.study.get_all_study_names(open_journal(path)) == ["one"]


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    lock = KernelLock(tmp_path / "journal")
    lock.acquire()
    with (tmp_path / "journal.lock").open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.release()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
