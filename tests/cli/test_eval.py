import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inarch.cli.main import main

from runs import rows, write_csv

Write = Callable[..., Path]


@pytest.fixture
def run(config_file: Write, capsys: pytest.CaptureFixture[str]) -> Path:
    path = config_file(training__max_steps=2)
    assert main(["train", str(path)]) == 0
    capsys.readouterr()
    return path.parent / "run"


def test_reproduces_the_metrics(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run)]) == 0
    assert "Every metric is exactly the one that the run reported." in capsys.readouterr().out
    assert main(["eval", str(run), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["reproduced"] is True
    assert printed["metrics"] == json.loads((run / "metrics.json").read_text())


def test_says_what_differs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = json.loads((run / "metrics.json").read_text())
    recorded["validation"]["f1"] = 2.0
    (run / "metrics.json").write_text(json.dumps(recorded))
    assert main(["eval", str(run)]) == 0
    assert "validation f1: the run reported 2.0, measured now " in capsys.readouterr().out


def test_another_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_csv(tmp_path / "other.csv", rows(6, seed=7))
    assert main(["eval", str(run), "--data", str(other), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"][str(other)]["rows"] == 6
    assert printed["reproduced"] is None


def test_changed_data(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(run.parent / "validation.csv", rows(10, seed=7))
    assert main(["eval", str(run)]) == 0
    assert "The validation data have changed since the run: not compared." in capsys.readouterr().out


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path)]) == 2
    assert "is no run folder" in capsys.readouterr().err
