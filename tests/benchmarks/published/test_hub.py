import json
from pathlib import Path

import datasets
import pytest

from inarch import DataError
from inarch_benchmarks.published import hub
from inarch_benchmarks.published.hub import Split

from hub_stand_ins import write

RTE = Split("nyu-mll/glue", "rte", "train")
ROWS = [
    {"sentence1": "a", "sentence2": "b", "label": 1, "idx": 0},
    {"sentence1": "c", "sentence2": "d", "label": 0, "idx": 1},
]


def test_reads_json_lines_from_a_folder(data: Path) -> None:
    write(data, "nyu-mll/glue/rte", "train", ROWS)
    table = hub.read(RTE)
    assert table.rows == ROWS
    assert table.name == "nyu-mll/glue/rte:train"


def test_reads_parquet_from_a_folder(data: Path) -> None:
    folder = data / "openai" / "gsm8k"
    folder.mkdir(parents=True)
    datasets.Dataset.from_list(ROWS).to_parquet(folder / "train.parquet")
    assert hub.read(Split("openai/gsm8k", None, "train")).rows == ROWS


def test_asks_the_hub_for_what_no_folder_has(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*arguments: str, **settings: str) -> datasets.Dataset:
        asked.append((arguments, settings))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    write(data, "nyu-mll/glue/rte", "validation", ROWS[:1])
    assert hub.read(Split("nyu-mll/glue", "rte", "train", "some-branch")).rows == ROWS
    assert asked == [(("nyu-mll/glue", "rte"), {"split": "train", "revision": "some-branch"})]


def test_says_in_one_line_how_to_point_to_files(data: Path) -> None:
    with pytest.raises(DataError) as caught:  # the hub cannot be reached from a test
        hub.read(RTE)
    message = str(caught.value)
    assert message.startswith("Cannot load nyu-mll/glue/rte:train from the Hugging Face hub: ")
    assert f"{data}/nyu-mll/glue/rte/train.parquet or {data}/nyu-mll/glue/rte/train.jsonl" in message
    assert "\n" not in message
    assert datasets.is_progress_bar_enabled()


def test_says_so_without_a_folder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(hub.VARIABLE, raising=False)
    with pytest.raises(
        DataError, match=r"set INARCH_DATA to a folder with its rows in \$INARCH_DATA/nyu-mll/glue/rte/train"
    ):
        hub.read(RTE)


def test_refuses_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(hub.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(DataError, match="gone, which is no folder"):
        hub.read(RTE)


def test_rows_are_read_once(data: Path) -> None:
    write(data, "nyu-mll/glue/rte", "train", ROWS)
    first = hub.read(RTE)
    (data / "nyu-mll/glue/rte/train.jsonl").write_text(json.dumps(ROWS[0]))
    assert hub.read(RTE) is first
