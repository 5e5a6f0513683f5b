from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from inarch.errors import ConfigError, ModelError, TrainingError
from inarch.training.config import read_config
from inarch.training.evaluation import evaluate
from inarch.training.folder import RunFolder

from runs import Write, assert_same_run, rows, run, tensors, write_csv, write_jsonl, write_parquet

pytestmark = pytest.mark.usefixtures("without_picture")


def test_a_run(config_file: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "test.csv", rows(8, seed=2))
    said: list[str] = []
    result = run(config_file(data__test="test.csv"), say=said.append)
    folder = result.folder
    assert {path.name for path in folder.path.iterdir()} == {
        "config.yaml",
        "versions.json",
        "run.json",
        "metrics.jsonl",
        "metrics.json",
        "adapter",
    }
    assert result.metrics == folder.read("metrics.json")
    assert result.metrics["validation"]["f1"] > 0.9
    assert sum(map(sum, result.metrics["test"]["confusion_matrix"])) == 8
    assert folder.read("run.json")["status"] == "finished"
    assert folder.read("run.json")["facts"] == {"labels": ["bad", "good"]}
    assert folder.read("versions.json")["torch"] == torch.__version__
    assert folder.config().method.settings["rank"] == 4
    lines = folder.lines()
    assert lines[0]["step"] == 4
    assert [line["epoch"] for line in lines if "eval_f1" in line] == [1, 2, 3]
    assert "classifier.weight" in "".join(said)


def test_the_best_adapter_is_saved(config_file: Write) -> None:
    result = run(config_file(training__num_train_epochs=5, training__learning_rate=0.05))
    scores = [line["eval_f1"] for line in result.folder.lines() if "eval_f1" in line]
    assert result.metrics["validation"]["f1"] == max(scores)


def test_the_pooler_is_trained_and_saved(config_file: Write) -> None:
    keys = tensors(run(config_file(training__max_steps=2)).folder)
    assert any("pooler" in key for key in keys)
    assert any("classifier" in key for key in keys)


def test_early_stopping(config_file: Write) -> None:
    path = config_file(
        early_stopping={"patience": 2, "metric": "accuracy"},
        training__num_train_epochs=20,
        training__learning_rate=1e-9,
    )
    result = run(path)
    assert len([line for line in result.folder.lines() if "eval_loss" in line]) == 3
    assert result.folder.read("run.json")["best_step"] == 6


def test_a_share_is_held_out(config_file: Write) -> None:
    assert run(config_file(data__validation=0.25, training__max_steps=2)).metrics["validation"]["rows"] == 12


def test_other_formats_give_the_same_run(config_file: Write, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", rows(48))
    write_parquet(tmp_path / "validation.parquet", rows(16, seed=1))
    steps = {"training__max_steps": 3}
    one = run(config_file(**steps, output="csv"))
    other = run(config_file(**steps, data__train="train.jsonl", data__validation="validation.parquet"))
    assert_same_run(one.folder, other.folder)


def test_a_decoder_and_two_texts(config_file: Write, gpt2: Path, tmp_path: Path) -> None:
    content = [{"one": row["text"], "two": "the film", "class": index % 3} for index, row in enumerate(rows(24))]
    write_jsonl(tmp_path / "pairs.jsonl", content)
    result = run(
        config_file(
            model=str(gpt2),
            data={"train": "pairs.jsonl", "validation": 0.25, "text": ["one", "two"], "label": "class"},
            training__max_steps=2,
        )
    )
    assert result.metrics["validation"]["labels"] == ["0", "1", "2"]
    assert evaluate(result.folder.path).reproduced is True


def test_the_seed_decides_the_run(config_file: Write) -> None:
    steps = {"training__max_steps": 3}
    one, two = run(config_file(**steps, output="one")), run(config_file(**steps, output="two"))
    other = run(config_file(**steps, seed=1, output="other"))
    assert_same_run(one.folder, two.folder)
    assert one.folder.lines() != other.folder.lines()


def test_an_existing_run_is_not_lost(config_file: Write, tmp_path: Path) -> None:
    path = config_file(training__max_steps=2)
    first = run(path)
    with pytest.raises(ConfigError, match="holds a run already"):
        run(path)
    with pytest.raises(ModelError):
        run(config_file(model=str(tmp_path / "none")), overwrite=True)
    assert first.metrics == first.folder.read("metrics.json")
    assert run(config_file(training__max_steps=1), overwrite=True).folder.read("run.json")["steps"] == 1


def test_a_folder_of_something_else_is_never_overwritten(config_file: Write, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").touch()
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="exists and is no run folder"):
            run(config_file(), overwrite=overwrite)
    assert (tmp_path / "run" / "thesis.tex").exists()


def test_a_loss_that_is_not_finite(config_file: Write) -> None:
    path = config_file(training__learning_rate=1e30, training__max_grad_norm=0)
    with pytest.raises(TrainingError) as error:
        run(path)
    assert "The loss is " in str(error.value)
    assert " at step 2 (learning rate " in str(error.value)
    assert "Try a learning rate of 1e+29" in str(error.value)
    folder = RunFolder(read_config(path).output)
    assert folder.read("run.json")["status"] == "failed"
    assert folder.read("run.json")["error"] == str(error.value)
    assert not folder.adapter.exists()


def test_stopping_by_hand(config_file: Write) -> None:
    class Interrupt(TrainerCallback):
        def on_step_end(self, *arguments: Any, **more: Any) -> None:
            raise KeyboardInterrupt

    path = config_file()
    with pytest.raises(KeyboardInterrupt):
        run(path, callbacks=[Interrupt()])
    assert RunFolder(read_config(path).output).read("run.json")["status"] == "interrupted"


def test_a_quantised_base_is_no_hindrance_to_trainer(config_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from transformers import BertForSequenceClassification

    monkeypatch.setattr(BertForSequenceClassification, "is_quantized", True, raising=False)
    quantizer = SimpleNamespace(is_trainable=True)
    monkeypatch.setattr(BertForSequenceClassification, "hf_quantizer", quantizer, raising=False)
    assert run(config_file(training__max_steps=1)).metrics["validation"]["rows"] == 16
