import json
from pathlib import Path

import pytest
import torch
from rich.table import Table

from inarch_benchmarks.side_by_side import PACKAGES, alternate, command


def test_operations_take_turns_and_the_first_round_does_not_count() -> None:
    done: list[str] = []
    spent = alternate({name: lambda name=name: lambda: done.append(name) for name in "ab"}, repeats=2)  # type: ignore[misc]
    assert done == ["a", "b"] * 3
    assert {name: len(values) for name, values in spent.items()} == {"a": 2, "b": 2}


def test_a_command_writes_what_it_measured_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    monkeypatch.setattr("sys.argv", ["benchmark", "--repeats", "3", "--output", str(path), "--json"])
    threads = torch.get_num_threads()
    try:
        command("A benchmark.", tmp_path / "other.json", 9, lambda repeats: {"found": 2 * repeats}, lambda _: Table())
    finally:
        torch.set_num_threads(threads)
    document = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == document
    assert (document["repeats"], document["found"], document["machine"]["threads"]) == (3, 6, 1)
    assert set(PACKAGES) <= set(document["machine"])
    assert not (tmp_path / "other.json").exists()
