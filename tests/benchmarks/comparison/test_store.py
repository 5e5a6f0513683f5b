import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inarch import ConfigError
from inarch_benchmarks.comparison.files import StoreError, StoreWarning
from inarch_benchmarks.comparison.record import VERSION
from inarch_benchmarks.comparison.store import RunStore

from made_up import failure, record, specification


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "store")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_record_comes_back_as_it_was_put(store: RunStore) -> None:
    told = record()
    assert not store.has(told.id)
    assert store.get(told.id) is None
    store.put(told)
    assert store.has(told.id)
    assert RunStore(store.folder).get(told.id) == told
    assert store.path(told.id) == store.folder / "runs" / told.id[:2] / f"{told.id}.json"


def test_a_loss_that_is_no_number_comes_back(store: RunStore) -> None:
    told = failure()
    store.put(told)
    found = store.get(told.id)
    assert found is not None
    assert math.isnan(found.curve.loss[-1])
    assert found.reason == told.reason


def test_records_are_found_by_their_ids(store: RunStore) -> None:
    told = [record(specification(seed=seed)) for seed in range(4)]
    for one in told:
        store.put(one)
    assert store.ids() == sorted(one.id for one in told)
    assert {one.id for one in store.records()} == set(store.ids())
    assert [one.specification.seed for one in store.records([told[2].id, "0" * 20, told[0].id])] == [2, 0]
    assert store.load([told[1].id, "0" * 20]) == {told[1].id: told[1]}
    assert list(RunStore(store.folder / "nowhere").records()) == []


def test_a_store_that_is_only_read_is_not_made(store: RunStore) -> None:
    assert store.ids() == []
    assert not store.folder.exists()


def test_a_record_under_the_name_of_another_specification_is_refused(store: RunStore) -> None:
    with pytest.raises(ConfigError, match="is of the specification"):
        store.put(record().model_copy(update={"id": "0" * 20}))
    assert not store.folder.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"version": 1, "id": "x"}', b"\xff\xfe"])
def test_a_damaged_record_is_set_aside(store: RunStore, content: bytes) -> None:
    told = record()
    store.put(told)
    path = store.path(told.id)
    path.write_bytes(content)
    with pytest.warns(StoreWarning, match=rf"{told.id}.json is damaged, it is now {told.id}.json.damaged"):
        assert store.get(told.id) is None
    assert not store.has(told.id)
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content
    store.put(told)
    path.write_bytes(b"again")
    with pytest.warns(StoreWarning, match="damaged1"):
        assert list(store.records()) == []
    assert path.with_name(f"{path.name}.damaged").read_bytes() == content


def test_a_record_under_a_wrong_name_is_set_aside(store: RunStore) -> None:
    one, other = record(specification(seed=1)), record(specification(seed=2))
    store.put(one)
    store.path(other.id).parent.mkdir(parents=True, exist_ok=True)
    store.path(one.id).rename(store.path(other.id))
    with pytest.warns(StoreWarning, match=f"it holds run {one.id}"):
        assert store.get(other.id) is None


def test_a_newer_store_is_refused_and_left_as_it_is(store: RunStore) -> None:
    store.put(record())
    (store.folder / "store.json").write_text(json.dumps({"version": VERSION + 1, "more": True}))
    before = files(store.folder)
    with pytest.raises(StoreError, match="written by a newer Inarch") as caught:
        RunStore(store.folder)
    assert f"version {VERSION + 1}" in str(caught.value)
    assert files(store.folder) == before


@pytest.mark.parametrize("change", [{}, {"unheard": 1}])
def test_a_newer_record_is_refused_and_left_as_it_is(store: RunStore, change: dict[str, int]) -> None:
    told = record()
    store.put(told)
    path = store.path(told.id)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": VERSION + 1} | change))
    before = files(store.folder)
    with pytest.raises(StoreError, match="newer Inarch"):
        store.get(told.id)
    with pytest.raises(StoreError, match="newer Inarch"):
        store.index.table()
    assert files(store.folder) == before


def test_a_damaged_store_file_is_set_aside(store: RunStore) -> None:
    told = record()
    store.put(told)
    (store.folder / "store.json").write_text("{")
    with pytest.warns(StoreWarning, match="names no version"):
        again = RunStore(store.folder)
    assert again.get(told.id) == told
    again.put(told)
    assert json.loads((store.folder / "store.json").read_text()) == {"version": VERSION}


def test_a_full_disk_leaves_what_was_there(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    told = record()
    store.put(told)
    before = files(store.folder)
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for other in (told.model_copy(update={"date": "later"}), record(specification(seed=1))):
        with pytest.raises(StoreError, match=r"No space left on device.*Nothing that was there is lost"):
            store.put(other)
    assert files(store.folder) == before
    monkeypatch.undo()
    assert store.get(told.id) == told


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="cannot be"):
        RunStore(tmp_path / "store").put(record())


WRITES = """
import sys
sys.path.insert(0, sys.argv[2])
from made_up import record, specification
from inarch_benchmarks.comparison.store import RunStore
store = RunStore(sys.argv[1])
with store.locked():
    print("locked", flush=True)
    for number in range(10**6):
        store.put(record(specification(seed=number % 50), date=str(number), reason="x" * 200_000))
"""


def test_a_kill_while_writing_leaves_whole_records_and_no_lock(store: RunStore) -> None:
    command = [sys.executable, "-c", WRITES, str(store.folder), str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(StoreError, match=rf"Another run works on .* \(process {process.pid}\)"), store.locked():
            pass
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
    with store.locked():
        records = list(store.records())  # a warning of a damaged one would be an error here
    assert records
    assert len(records) == len(store.ids())


def test_what_killed_processes_left_is_swept_up_under_the_lock(store: RunStore) -> None:
    store.put(record())
    folder = store.path(record().id).parent
    old, young = folder / ".a.json.1.tmp", folder / ".b.json.2.tmp"
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (0, 0))
    assert store.ids() == [record().id]
    with store.locked():
        assert not old.exists()
        assert young.exists()


ASKS = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""


def test_one_process_does_not_lock_a_store_twice(store: RunStore) -> None:
    with store.locked():
        with pytest.raises(StoreError, match="Another run"), RunStore(store.folder).locked():
            pass
        command = [sys.executable, "-c", ASKS, str(store.folder / "store.lock")]
        assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode != 0  # held after the refusal
    assert subprocess.run(command, check=False).returncode == 0
    with store.locked():
        pass
