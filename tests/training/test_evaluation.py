import json
from pathlib import Path

import pytest

from inarch.errors import ConfigError, DataError
from inarch.training.config import read_config
from inarch.training.evaluation import evaluate

from runs import (
    KillAt,
    Killed,
    Write,
    rows,
    run,
    write_csv,
    write_jsonl,
)

pytestmark = pytest.mark.usefixtures("without_picture")


def test_evaluation_reproduces_the_metrics(config_file: Write, tmp_path: Path) -> None:
    result = run(config_file(training__num_train_epochs=1))
    evaluation = evaluate(result.folder.path)
    assert evaluation.metrics == result.metrics
    assert evaluation.reproduced is True
    before = sorted(result.folder.path.rglob("*"))
    evaluate(result.folder.path)
    assert sorted(result.folder.path.rglob("*")) == before


def test_evaluation_of_another_file(config_file: Write, tmp_path: Path) -> None:
    result = run(config_file(training__max_steps=1))
    other = write_jsonl(tmp_path / "other.jsonl", rows(6, seed=9))
    evaluation = evaluate(result.folder.path, other)
    assert evaluation.metrics[str(other)]["rows"] == 6
    assert evaluation.reproduced is None
    write_jsonl(other, [{"text": "a", "label": "mixed"}])
    with pytest.raises(DataError, match="mixed"):
        evaluate(result.folder.path, other)


def test_evaluation_notices_changed_data(config_file: Write, tmp_path: Path) -> None:
    result = run(config_file(training__max_steps=1))
    write_csv(tmp_path / "validation.csv", rows(16, seed=3))
    evaluation = evaluate(result.folder.path)
    assert evaluation.changed == ("validation",)
    assert evaluation.reproduced is None


def test_evaluation_says_what_differs(config_file: Write) -> None:
    result = run(config_file(training__max_steps=1))
    recorded = result.folder.read("metrics.json")
    recorded["validation"]["f1"] = 2.0
    (result.folder.path / "metrics.json").write_text(json.dumps(recorded))
    evaluation = evaluate(result.folder.path)
    assert evaluation.reproduced is False
    assert evaluation.differences["validation"]["f1"][0] == 2.0


def test_evaluation_needs_a_finished_run(config_file: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run folder"):
        evaluate(tmp_path)
    path = config_file()
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 1)])
    with pytest.raises(ConfigError, match="has it finished"):
        evaluate(read_config(path).output)
