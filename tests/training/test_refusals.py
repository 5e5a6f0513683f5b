from pathlib import Path
from typing import Any

import pytest

from inarch.errors import ConfigError, DataError, InarchError, ModelError

from runs import Write, refused, rows, write_csv, write_jsonl

pytestmark = pytest.mark.usefixtures("without_picture")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_an_empty_file(config_file: Write, tmp_path: Path, ending: str) -> None:
    (tmp_path / f"empty.{ending}").touch()
    refused(config_file(data__train=f"empty.{ending}"), DataError, f"empty.{ending} holds no rows")


def test_an_unreadable_file(config_file: Write) -> None:
    refused(config_file(data__train="no.csv"), DataError, "no.csv", "No such file", "Check the path")


def test_a_wrong_column(config_file: Write) -> None:
    refused(config_file(data__text="txt"), DataError, 'has no column "txt"', 'did you mean "text"?')


def test_one_class_only(config_file: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "one.csv", [row for row in rows(20) if row["label"] == "good"])
    refused(config_file(data__train="one.csv"), DataError, 'every row has the label "good"', "at least two labels")


def test_labels_unseen_in_training(config_file: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "new.csv", [*rows(4), {"text": "a", "label": "mixed"}])
    refused(
        config_file(data__validation="new.csv"), DataError, "new.csv", "labels that the training data do not: mixed"
    )


def test_labels_that_are_numbers(config_file: Write, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": 0.37}, {"text": "b", "label": 0.5}])
    refused(config_file(data__train="a.jsonl"), DataError, "holds 0.37: labels are classes")


def test_a_missing_label(config_file: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [*rows(3), {"text": "a", "label": ""}])
    refused(config_file(data__train="a.csv"), DataError, "row 4 has no label")


def test_a_text_that_is_none(config_file: Write, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [*rows(3), {"text": 3, "label": "good"}])
    refused(config_file(data__train="a.jsonl"), DataError, "row 4 holds 3", "no text")


def test_a_model_without_weights(config_file: Write, bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for path in bert.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    refused(config_file(model="bare"), ModelError, "bare has no weights")


def test_damaged_weights(config_file: Write, bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:2000])
    refused(config_file(model="damaged"), ModelError, "Cannot load", "damaged")


def test_weights_of_another_model(config_file: Write, bert: Path, gpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in bert.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model.safetensors").write_bytes((gpt2 / "model.safetensors").read_bytes())
    refused(config_file(model="mixed"), ModelError, "hold nothing of a BertForSequenceClassification")


def test_no_model_folder(config_file: Write) -> None:
    refused(config_file(model="./none"), ModelError, "There is no model folder")


def test_no_model_config(config_file: Write, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    refused(config_file(model="bare"), ModelError, "bare has no config.json")


def test_no_hub(config_file: Write) -> None:
    refused(config_file(model="nobody/no-such-model"), ModelError, "nobody/no-such-model", "Check the id")


def test_too_long(config_file: Write) -> None:
    refused(config_file(data__max_length=65), ConfigError, "data.max_length is 65", "at most 64 tokens")


def test_no_such_task(config_file: Write) -> None:
    refused(config_file(task="text-clasification"), InarchError, 'did you mean "text-classification"?')


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ({"name": "lorra"}, ["lorra", 'did you mean "lora"?']),
        ({"name": "lora", "rnk": 4}, ["rnk", 'did you mean "rank"?']),
        ({"name": "lora", "rank": 0}, ["rank", "0"]),
        ({"name": "lora", "rank": 1000}, ["rank", "1000"]),
        ({"name": "lora", "targets": ["*.no_such_thing"]}, ["no_such_thing"]),
    ],
)
def test_a_method_that_cannot_be(config_file: Write, method: dict[str, Any], parts: list[str]) -> None:
    refused(config_file(method=method), InarchError, *parts)


@pytest.mark.parametrize(
    ("training", "parts"),
    [
        ({"learning_rat": 1}, ['unknown setting "training.learning_rat". Did you mean "learning_rate"?']),
        ({"learning_rate": "fast"}, ["training.learning_rate is 'fast': input should be a valid number"]),
        ({"per_device_train_batch_size": 0}, ["training.per_device_train_batch_size is 0: it must be at least 1"]),
        ({"num_train_epochs": 0}, ["training.num_train_epochs is 0.0: it must be above 0"]),
        ({"seed": 3}, ["training.seed is not for a config to set: set seed, at the top"]),
        ({"hub_token": "x"}, ["training.hub_token is not for a config to set"]),
        ({"eval_strategy": "no"}, ['training.eval_strategy is "no"']),
        ({"lr_scheduler_type": "sinus"}, ["training", "sinus"]),
        ({"optim": "apollo_adamw", "optim_target_modules": "all"}, ["training: ", "apollo_torch"]),
    ],
)
def test_training_arguments_that_cannot_be(config_file: Write, training: dict[str, Any], parts: list[str]) -> None:
    refused(config_file(training=training), ConfigError, *parts)


def test_a_metric_that_is_none(config_file: Write) -> None:
    stopping = {"patience": 1, "metric": "bleu"}
    refused(config_file(early_stopping=stopping), ConfigError, 'early_stopping.metric is "bleu"', "accuracy")


def test_an_output_that_cannot_be_made(config_file: Write, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(config_file(output="file/run"), InarchError, "file/run cannot be written")
