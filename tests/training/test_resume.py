from pathlib import Path
from typing import Any

import pytest

from inarch.errors import ConfigError, DataError
from inarch.training.config import read_config
from inarch.training.evaluation import evaluate
from inarch.training.folder import RunFolder

from runs import KillAt, Killed, Write, assert_same_run, rows, run, write_csv
from sampled import one_of

pytestmark = pytest.mark.usefixtures("without_picture")


@pytest.mark.parametrize("step", one_of([8, 1]))
def test_a_killed_run_resumes_to_the_same_bits(config_file: Write, step: int) -> None:
    schedule = {
        "training__gradient_accumulation_steps": 2,
        "training__per_device_train_batch_size": 4,
        "training__logging_steps": 5,
        "early_stopping": {"patience": 2},
    }
    whole = run(config_file(**schedule, output="whole"))
    path = config_file(**schedule)
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", step)])
    folder = RunFolder(read_config(path).output)
    assert folder.read("run.json")["status"] == "running"
    assert_same_run(whole.folder, run(path, resume=True).folder)


def test_a_method_that_trains_the_base_resumes(config_file: Write) -> None:
    method = {"name": "full"}
    whole = run(config_file(method=method, output="whole"))
    path = config_file(method=method)
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 8)])
    assert_same_run(whole.folder, run(path, resume=True).folder)
    assert evaluate(whole.folder.path).reproduced is True


def test_resuming_in_the_middle_of_an_epoch(config_file: Write) -> None:
    schedule = {"training__eval_strategy": "steps", "training__eval_steps": 5, "training__logging_steps": 3}
    whole = run(config_file(**schedule, output="whole"))
    path = config_file(**schedule)
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 13)])
    checkpoints = RunFolder(read_config(path).output).checkpoints
    assert (checkpoints / "checkpoint-10" / "complete").exists()
    assert_same_run(whole.folder, run(path, resume=True).folder)


@pytest.mark.thorough
def test_half_a_checkpoint_is_not_resumed_from(config_file: Write) -> None:
    whole = run(config_file(output="whole"))
    path = config_file()
    # on_save comes after the files and, for a callback of the user's, after the mark: take it off again.
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_save", 12)])
    half = RunFolder(read_config(path).output).checkpoints / "checkpoint-12"
    (half / "complete").unlink()
    (half / "optimizer.pt").write_bytes(b"half")
    assert_same_run(whole.folder, run(path, resume=True).folder)


EARLY = {"early_stopping": {"patience": 1}, "training__learning_rate": 1e-9, "training__num_train_epochs": 9}
UNEVALUATED = {"training__eval_strategy": "steps", "training__eval_steps": 100}


@pytest.mark.parametrize(("schedule", "last"), one_of([({}, 18), (EARLY, 12), (UNEVALUATED, 18)]))
def test_killed_between_the_last_step_and_the_end(config_file: Write, schedule: dict[str, Any], last: int) -> None:
    whole = run(config_file(**schedule, output="whole"))
    assert whole.folder.read("run.json")["steps"] == last
    path = config_file(**schedule)
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_save", last)])
    assert_same_run(whole.folder, run(path, resume=True).folder)


@pytest.mark.thorough
def test_a_moved_run_resumes(config_file: Write, tmp_path: Path) -> None:
    whole = run(config_file(output="whole"))
    path = config_file(output="before")
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 13)])
    (tmp_path / "before").rename(tmp_path / "after")
    assert_same_run(whole.folder, run(config_file(output="after"), resume=True).folder)


def test_a_finished_run_is_left_alone(config_file: Write) -> None:
    path = config_file(training__max_steps=2)
    result, said = run(path), []
    assert run(path, resume=True, say=said.append) == result
    assert "has finished already" in said[0]


def test_resuming_another_config(config_file: Write) -> None:
    with pytest.raises(Killed):
        run(config_file(), callbacks=[KillAt("on_step_end", 7)])
    with pytest.raises(ConfigError, match=r"training.learning_rate is 0.01 there and 0.02 here"):
        run(config_file(training__learning_rate=0.02), resume=True)


def test_resuming_on_other_data(config_file: Write, tmp_path: Path) -> None:
    path = config_file()
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 7)])
    write_csv(tmp_path / "train.csv", rows(48, seed=5))
    with pytest.raises(DataError, match="The train data have changed"):
        run(path, resume=True)


def test_resuming_nothing(config_file: Write) -> None:
    with pytest.raises(ConfigError, match="is no run folder"):
        run(config_file(), resume=True)


def test_resume_and_overwrite(config_file: Write) -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        run(config_file(), resume=True, overwrite=True)
