import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from inarch.errors import DataError
from inarch.training.table import Table, read_hub_table, read_table

from runs import write_csv, write_jsonl, write_parquet

ROWS = [{"text": 'one, "two"\nthree', "label": 1}, {"text": "NA", "label": 0}, {"text": "żółw", "label": 1}]


def write_json(path: Path, content: list[dict[str, Any]]) -> Path:
    import json

    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.csv", write_csv), ("a.jsonl", write_jsonl), ("a.json", write_json), ("b.json", write_jsonl),
     ("a.parquet", write_parquet)],
)  # fmt: skip
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, write: Callable[..., Path]) -> None:
    table = read_table(write(tmp_path / name, ROWS))
    assert table.column("text") == [row["text"] for row in ROWS]
    assert [str(label) for label in table.column("label")] == ["1", "0", "1"]
    assert table.fingerprint(("text", "label")) == Table("other", ROWS).fingerprint(("text", "label"))


def test_tabs(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\na, b\t1\n", encoding="utf-8")
    assert read_table(path).rows == [{"text": "a, b", "label": "1"}]


def test_long_fields(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [{"text": "x" * 200_000, "label": "a"}])
    assert len(read_table(path).column("text")[0]) == 200_000


def test_fingerprint_knows_every_value() -> None:
    columns = ("text", "label")
    changed = [*ROWS[:2], {"text": "żółw", "label": 0}]
    assert Table("a", ROWS).fingerprint(columns) != Table("a", changed).fingerprint(columns)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"text,label\n", "holds no rows"),
        ("a.csv", b"text,label\na,b,c\n", "line 2 has 3 values for 2 columns"),
        ("a.csv", b"text,label\na\n", "line 2 has 1 values for 2 columns"),
        ("a.csv", b'text,label\n"a,b\n', "unexpected end of data"),
        ("a.csv", b"text,label\n\xff,b\n", "not UTF-8"),
        ("a.jsonl", b"", "holds no rows"),
        ("a.jsonl", b'{"text": 1}\n{"text":\n', "line 2 is not JSON"),
        ("a.jsonl", b"3\n", "line 1 is no object"),
        ("a.json", b"[]", "holds no rows"),
        ("a.json", b"[1", "is not JSON"),
        ("a.json", b"[1]", "is no list of objects"),
        ("a.parquet", b"", "holds no rows"),
        ("a.parquet", b"PAR0 no such thing PAR0", "is not a Parquet file"),
        ("a.xls", b"", 'cannot tell the format from the ending ".xls"'),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read_table(tmp_path / name)
    assert expected in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.parquet"])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"Cannot read .*No such file"):
        read_table(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", ROWS)
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        read_table(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError, match="Is a directory"):
        read_table(tmp_path / "a.csv")


def test_wrong_column() -> None:
    with pytest.raises(DataError, match=r'a.csv has no column "lable": did you mean "label"\? Available: label, text.'):
        Table("a.csv", ROWS).column("lable")


def test_missing_value() -> None:
    with pytest.raises(DataError, match='row 2 has no value in column "label"'):
        Table("a.csv", [{"label": 1}, {"label": None}]).column("label")


def test_hub_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    loaded = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    asked = SimpleNamespace()

    def load_dataset(*arguments: Any, **settings: Any) -> Any:
        asked.arguments, asked.settings = arguments, settings
        return loaded

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    table = read_hub_table("glue", "sst2", "train")
    assert (asked.arguments, asked.settings) == (("glue", "sst2"), {"split": "train"})
    assert table.name == "glue/sst2:train"
    assert table.rows == [{"text": "a", "label": "good"}, {"text": "b", "label": "bad"}]


def test_hidden_hub_labels_count_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = datasets.Features({"label": datasets.ClassLabel(names=["bad", "good"])})
    loaded = datasets.Dataset.from_dict({"label": [0, -1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **settings: loaded)
    with pytest.raises(DataError, match="row 2 has no value"):
        read_hub_table("glue", "sst2", "test").column("label")


def test_no_way_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: Any, **settings: Any) -> Any:
        raise ConnectionError("Couldn't reach 'imdb' on the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as error:
        read_hub_table("imdb", None, "train")
    assert str(error.value).startswith("Cannot load imdb:train from the Hugging Face hub: Couldn't reach")
    assert "\n" not in str(error.value)
