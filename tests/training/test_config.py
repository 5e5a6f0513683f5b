from pathlib import Path

import pytest

from inarch.errors import ConfigError
from inarch.training.config import parse_config, read_config
from inarch.training.yaml_file import read_yaml, yaml_text

GIVEN = {"model": "gpt2", "data": {"train": "train.csv"}, "method": {"name": "lora"}, "output": "runs/first"}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def message(error: pytest.ExceptionInfo[ConfigError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_defaults_are_filled_in() -> None:
    config = parse_config(GIVEN)
    assert config.task == "text-classification"
    assert config.data.validation == 0.1
    assert config.data.text == ("text",)
    assert config.seed == 0


def test_survives_yaml(tmp_path: Path) -> None:
    config = parse_config({**GIVEN, "early_stopping": {"patience": 2}, "training": {"learning_rate": 2e-5}})
    path = write(tmp_path / "config.yaml", yaml_text(config.to_dict()))
    assert parse_config(read_yaml(path)) == config


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    write(tmp_path / "models" / "run.yaml", yaml_text({**GIVEN, "model": "tiny"}))
    monkeypatch.chdir(tmp_path)
    config = read_config(Path("models/run.yaml"))
    assert config.model == str(tmp_path / "models" / "tiny")
    assert config.data.train == str(tmp_path / "models" / "train.csv")
    assert config.data.validation == 0.1
    assert config.output == tmp_path / "models" / "runs" / "first"


def test_ids_stay_ids(tmp_path: Path) -> None:
    content = {**GIVEN, "data": {"dataset": "glue", "subset": "sst2", "train": "train", "validation": "validation"}}
    config = read_config(write(tmp_path / "run.yaml", yaml_text(content)))
    assert config.model == "gpt2"
    assert config.data.train == "train"


@pytest.mark.parametrize("written", ["2e-3", "2E-3", "2.0e-3", "0.002", "+2e-3"])
def test_numbers_as_they_are_written(tmp_path: Path, written: str) -> None:
    assert read_yaml(write(tmp_path / "a.yaml", f"rate: {written}")) == {"rate": 0.002}


def test_words_that_look_like_numbers_stay_words(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path / "a.yaml", "model: 1e-small")) == {"model": "1e-small"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"quant": "nf5"}, 'quant is \'nf5\': there is no quantisation "nf5": did you mean "nf4"?'),
        ({"modle": "gpt2"}, 'unknown setting "modle". Did you mean "model"?'),
        ({"data": {"trian": "a.csv", "train": "a.csv"}}, 'unknown setting "data.trian". Did you mean "train"?'),
        ({"data": {}}, "data.train is missing"),
        ({"data": {"train": "a.csv", "max_length": 0}}, "data.max_length is 0: input should be greater than 0"),
        ({"data": {"train": "a.csv", "validation": 1.5}}, "data.validation is 1.5: input should be less than 1"),
        ({"data": {"train": "a.csv", "subset": "sst2"}}, "subset names a part of a hub dataset"),
        ({"seed": -1}, "seed is -1: input should be greater than or equal to 0"),
        ({"seed": "x"}, "seed is 'x': input should be a valid integer"),
        ({"method": {"rank": 8}}, "method.name is missing"),
        ({"early_stopping": {"patience": 0}}, "early_stopping.patience is 0"),
        ({"early_stopping": {"patience": 1, "on": "f1"}}, 'unknown setting "early_stopping.on"'),
    ],
)
def test_one_line_says_what_is_wrong(change: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({**GIVEN, **change}, source="run.yaml")
    assert message(error).startswith("run.yaml: ")
    assert expected in message(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "holds no settings"),
        ("- a\n- b\n", "holds no settings"),
        ("model: [1, 2\n", "is not valid YAML: "),
    ],
)
def test_no_config(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_config(write(tmp_path / "run.yaml", text))
    assert expected in message(error)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read the config .*No such file"):
        read_config(tmp_path / "run.yaml")


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(b"model: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config(tmp_path / "run.yaml")
