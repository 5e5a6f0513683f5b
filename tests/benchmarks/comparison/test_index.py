import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from inarch import ConfigError
from inarch_benchmarks.comparison import store as stores
from inarch_benchmarks.comparison.files import StoreError, StoreWarning
from inarch_benchmarks.comparison.flat import COLUMNS
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.comparison.store import RunStore

from made_up import failure, record, specification


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path / "store")
    for seed in range(3):
        store.put(record(specification(seed=seed), score=0.7 + seed / 10))
    store.put(record(specification(method="bitfit", purpose="tuning"), score=0.4))
    store.put(failure(specification(method="prefix"), reason='a "comma", and\na line'))
    return store


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the records that are read from now on."""
    seen: list[str] = []
    get = RunStore.get

    def noted(self: RunStore, id: str) -> RunRecord | None:
        seen.append(id)
        return get(self, id)

    monkeypatch.setattr(stores.RunStore, "get", noted)
    return seen


def test_every_run_is_a_row(store: RunStore) -> None:
    table = store.index.table()
    assert table["id"].to_pylist() == store.ids()
    assert set(COLUMNS) <= set(table.column_names)
    rows = {(row["method"], row["seed"]): row for row in table.to_pylist()}
    row = rows["lora", 2]
    assert row["test_accuracy"] == pytest.approx(0.9)
    assert row["memory_total"] == 1_056_000 + 35_000 + 70_000 + 5_000_000
    assert row["parameters_trainable"] == 8_842
    assert json.loads(row["settings"]) == {"rank": 8, "alpha": 16.0}
    assert rows["bitfit", 0]["test_accuracy"] is None
    assert rows["prefix", 0]["status"] == "diverged"
    assert rows["prefix", 0]["stored_bytes"] is None


def test_only_what_is_new_is_read(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.index.table()
    seen = reads(monkeypatch)
    assert store.index.table().equals(first)
    assert seen == []
    new = record(specification(seed=9))
    store.put(new)
    changed = record(specification(seed=1), score=0.123, reason="again")
    store.put(changed)
    store.path(record(specification(seed=0)).id).unlink()
    rows = {row["id"]: row for row in store.index.table().to_pylist()}
    assert sorted(seen) == sorted([new.id, changed.id])
    assert sorted(rows) == store.ids()
    assert rows[changed.id]["test_accuracy"] == pytest.approx(0.123)


@pytest.mark.parametrize("content", [None, b"", b"not parquet"])
def test_it_is_built_anew_where_it_is_gone_or_damaged(store: RunStore, content: bytes | None) -> None:
    first = store.index.table()
    store.index.path.unlink() if content is None else store.index.path.write_bytes(content)
    assert store.index.table().equals(first)
    assert pyarrow.parquet.read_table(store.index.path).num_rows == 5


def test_an_index_of_another_form_is_built_anew(store: RunStore) -> None:
    first = store.index.table()
    pyarrow.parquet.write_table(pyarrow.table({"id": ["x"], "changed": ["y"]}), store.index.path)
    assert store.index.table().equals(first)


def test_metrics_that_come_later_get_a_column(store: RunStore) -> None:
    store.index.table()
    told = record(specification(task="other"))
    assert told.test
    store.put(told.model_copy(update={"test": told.test.model_copy(update={"metrics": {"f1": 0.5}})}))
    rows = {row["id"]: row for row in store.index.table().to_pylist()}
    assert rows[told.id]["test_f1"] == 0.5
    assert sum(row["test_f1"] is None for row in rows.values()) == 5


def test_a_damaged_record_is_left_out(store: RunStore) -> None:
    store.path(store.ids()[0]).write_text("{")
    with pytest.warns(StoreWarning, match="damaged"):
        assert store.index.table().num_rows == 4


def test_a_table_that_cannot_be_kept_is_worked_out_all_the_same(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise StoreError("full")

    monkeypatch.setattr("inarch_benchmarks.comparison.index.write_whole", full)
    assert store.index.table().num_rows == 5
    assert not store.index.path.exists()


def test_queries_are_answered(store: RunStore) -> None:
    pytest.importorskip("duckdb")
    told = store.query(
        "SELECT method, count(*) AS runs FROM runs WHERE purpose = 'test' GROUP BY method ORDER BY method"
    )
    assert told == [{"method": "lora", "runs": 3}, {"method": "prefix", "runs": 1}]


@pytest.mark.parametrize("sql", ["SELECT * FROM nowhere", "SELEC", "SELECT * FROM '{file}'", "COPY runs TO '{file}'"])
def test_queries_that_cannot_be_are_refused(store: RunStore, sql: str, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    file = tmp_path / "x.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="DuckDB refused"):
        store.query(sql.format(file=file))
    assert file.read_text() == "a,b\n1,2\n"


def test_queries_without_duckdb_name_the_extra(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r"inarch\[bench\]"):
        store.query("SELECT 1")


def test_exports_hold_every_row(store: RunStore, tmp_path: Path) -> None:
    rows = store.index.table().to_pylist()
    for ending in ("csv", "jsonl", "parquet"):
        store.export(tmp_path / f"runs.{ending}")
    assert [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()] == rows
    assert pyarrow.parquet.read_table(tmp_path / "runs.parquet").num_rows == 5
    with (tmp_path / "runs.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["id"] for row in read] == [row["id"] for row in rows]
    assert 'a "comma", and\na line' in [row["reason"] for row in read]


def test_an_export_of_another_kind_is_refused(store: RunStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one of .csv, .jsonl, .parquet"):
        store.export(tmp_path / "runs.xlsx")
