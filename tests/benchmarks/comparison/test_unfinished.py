"""A run that is killed while it trains goes on where it was, and ends as if nothing had been."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inarch
from inarch_benchmarks.comparison import unfinished
from inarch_benchmarks.comparison.catalogue import prepare
from inarch_benchmarks.comparison.recipe import Recipe
from inarch_benchmarks.comparison.record import RunRecord
from inarch_benchmarks.comparison.run import perform
from inarch_benchmarks.comparison.specification import RunSpecification
from inarch_benchmarks.comparison.store import RunStore
from inarch_benchmarks.comparison.unfinished import Unfinished
from inarch_benchmarks.session.jobs import compute_run

from toy_comparison import ToyTask

pytestmark = pytest.mark.usefixtures("toys")

STEPS = 40
BOTH = ["first", "second"]
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"targets": BOTH, "rank": 2, "dropout": 0.3},
    "adalora": {"targets": BOTH, "target_rank": 1, "initial_rank": 3},
    "full": {},
}


class Killed(BaseException):
    """What no run catches."""


def specification(method: str) -> RunSpecification:
    return RunSpecification(
        task="toy", data="d", model="toy-model", weights="w", method=method,
        settings=inarch.method(method, **METHODS[method]).to_dict(), learning_rate=0.01,
        recipe=Recipe(steps=STEPS, batch_size=16), seed=0, purpose="test",
    )  # fmt: skip


def run(method: str, folder: Path | None = None) -> RunRecord:
    return perform(specification(method), prepare("toy-model", lambda work: None), Unfinished(folder))


def told(record: RunRecord) -> dict[str, Any]:
    """Everything but times and dates."""
    return record.model_dump(exclude={"seconds", "contended", "date"})


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "INTERVAL", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", float("inf"))


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch, often: None) -> Iterator[Any]:
    """Kills a run at its second validation, after half of the steps."""

    def kill(method: str, folder: Path) -> None:
        score, calls = ToyTask.score, []

        def stops(self: ToyTask, model: Any, examples: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise Killed
            return score(self, model, examples)

        with monkeypatch.context() as patch:
            patch.setattr(ToyTask, "score", stops)
            with pytest.raises(Killed):
                run(method, folder)

    return kill


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_as_if_nothing_had_been(method: str, tmp_path: Path, killed: Any) -> None:
    whole = run(method)
    assert whole.status == "finished", whole.reason
    killed(method, tmp_path)
    (place,) = tmp_path.iterdir()
    assert 0 < int(place.name) < STEPS
    trained: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        examples = type(ToyTask().lessons(prepare("toy-model", lambda work: None), 0).training)
        batch = examples.batch

        def watched(self: Any, rows: Any) -> Any:
            trained.append(len(rows))
            return batch(self, rows)

        patch.setattr(examples, "batch", watched)
        resumed = run(method, tmp_path)
    assert told(resumed) == told(whole)
    assert trained.count(16) == STEPS - int(place.name)


def test_the_time_before_counts(tmp_path: Path, killed: Any) -> None:
    killed("lora", tmp_path)
    (state,) = tmp_path.glob("*/state.json")
    content = json.loads(state.read_text())
    for name in ("total", "training"):
        (content["notes"]["watch"] if name == "total" else content["notes"]["watch"]["laps"])[name] += 1000.0
    state.write_text(json.dumps(content))
    seconds = run("lora", tmp_path).seconds
    assert seconds is not None
    assert 1000 < seconds.training < seconds.total < 1100


@pytest.mark.parametrize("file", ["state.json", "optimizer.safetensors"])
def test_a_damaged_checkpoint_counts_as_none(file: str, tmp_path: Path, killed: Any) -> None:
    killed("lora", tmp_path)
    (damaged,) = tmp_path.glob(f"*/{file}")
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert told(run("lora", tmp_path)) == told(run("lora"))


def test_half_a_checkpoint_counts_as_none(tmp_path: Path, killed: Any) -> None:
    killed("lora", tmp_path)
    (place,) = tmp_path.iterdir()
    place.rename(tmp_path / ".fresh")
    assert told(run("lora", tmp_path)) == told(run("lora"))


def test_what_other_software_has_written_counts_as_none(tmp_path: Path, killed: Any) -> None:
    killed("lora", tmp_path)
    (state,) = tmp_path.glob("*/state.json")
    content = json.loads(state.read_text())
    content["stack"]["software"]["torch"] = "1.0"
    state.write_text(json.dumps(content))
    assert Unfinished(tmp_path).find() == {}


def test_a_full_disk_stops_no_run(tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unfinished, "save_file", full)
    assert told(run("lora", tmp_path)) == told(run("lora"))
    assert Unfinished(tmp_path).find() == {}


def test_a_short_run_writes_nothing(tmp_path: Path) -> None:
    run("lora", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_newest_alone_is_kept_until_it_is_forgotten(tmp_path: Path, often: None) -> None:
    run("lora", tmp_path / "run")
    assert [place.name for place in (tmp_path / "run").iterdir()] == [f"{STEPS - STEPS // 20:09d}"]
    Unfinished(tmp_path / "run").forget()
    assert not (tmp_path / "run").exists()


def test_a_worker_keeps_them_in_the_store_until_the_record_is_there(tmp_path: Path, killed: Any) -> None:
    wanted = specification("lora")
    killed("lora", tmp_path / "unfinished" / wanted.id)
    assert Unfinished(tmp_path / "unfinished" / wanted.id).find() != {}
    record = RunRecord.model_validate(compute_run(wanted.model_dump(mode="json"), "nowhere", str(tmp_path)))
    assert told(record) == told(run("lora"))
    (kept,) = RunStore(tmp_path).records()
    assert told(kept) == told(record)
    assert not (tmp_path / "unfinished" / wanted.id).exists()
