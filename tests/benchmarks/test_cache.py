from pathlib import Path
from typing import Any

import pytest

from inarch import ConfigError
from inarch_benchmarks.embedded.cache import RECORD, cache_folder, publish, read_record, require_writable


def fill(folder: Path) -> dict[str, Any]:
    (folder / "weights").write_bytes(b"one")
    return {"made": "now"}


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("INARCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "inarch"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "inarch"
    monkeypatch.setenv("INARCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_a_published_folder_is_read_back_and_leaves_no_scratch(tmp_path: Path) -> None:
    publish(tmp_path / "deep" / "base", fill)
    record = read_record(tmp_path / "deep" / "base")
    assert record is not None
    assert record["made"] == "now"
    assert list(record["sha256"]) == ["weights"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["base"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "left over").touch()
    publish(folder, fill)
    assert sorted(path.name for path in folder.iterdir()) == [RECORD, "weights"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        raise KeyboardInterrupt

    publish(tmp_path / "base", fill)
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "base", fail)
    assert read_record(tmp_path / "base") is not None
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["weights", RECORD])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"tw\xff"])
def test_damage_is_seen(tmp_path: Path, damage: str, content: bytes) -> None:
    publish(tmp_path / "base", fill)
    (tmp_path / "base" / damage).write_bytes(content)
    assert read_record(tmp_path / "base") is None


def test_a_missing_file_is_seen(tmp_path: Path) -> None:
    publish(tmp_path / "base", fill)
    (tmp_path / "base" / "weights").unlink()
    assert read_record(tmp_path / "base") is None
    assert read_record(tmp_path / "nowhere") is None


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/below cannot be written to \(.*\): name another\."):
        require_writable(tmp_path / "file" / "below", "name another")
