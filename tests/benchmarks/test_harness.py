import json
from pathlib import Path

import pytest

from inarch.cli.main import main
from inarch_benchmarks import harness
from inarch_benchmarks.comparison.store import RunStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    for name, value in {"CONTENDERS": 3, "TASKS": 2, "SEEDS": 4}.items():
        monkeypatch.setattr(harness, name, value)
    store = RunStore(tmp_path)
    for name in ("one", "other"):
        harness.fill(store, name)
    return store


def test_a_made_up_suite_is_reported_as_one_that_was_run(store: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(store.ids()) == 2 * 3 * 2 * 4
    words = ["report", str(harness.suite_file(store, "one")), "--store", str(store.folder), "--json"]
    assert main(["bench", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 3 * 2
    assert all(row["score"]["seeds"] == 4 for row in found["rows"])


def test_a_table_has_every_figure() -> None:
    seconds = {"start": [0.5], "report": [3.0, 1.0, 2.0], "query, first": [9.0], "query": [1.0, 1.5]}
    table = harness.table({"shares": [0.01, 0.02, 0.03], "stored": 100_000, "seconds": seconds})
    medians = list(table.columns[1].cells)
    assert medians == ["2.00%", "0.5 s", "2.0 s", "9.0 s", "1.2 s"]
