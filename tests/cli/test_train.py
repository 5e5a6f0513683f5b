import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from inarch.cli.main import main

Write = Callable[..., Path]
COMMAND = [sys.executable, "-c", "import sys; from inarch.cli.main import main; sys.exit(main())"]


def test_prints_metrics_and_leaves_a_run(config_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(training__num_train_epochs=1)
    assert main(["train", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "f1" in out
    assert "true \\ predicted" in out
    assert str(path.parent / "run" / "curve.png") in out.replace("\n", "")
    assert "48 training, 16 validation rows" in err
    assert "step 6/6" in err
    assert (path.parent / "run" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_json_alone_on_stdout(config_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(training__max_steps=1)
    assert main(["train", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"] == json.loads((path.parent / "run" / "metrics.json").read_text())
    assert main(["train", str(path), "--json", "--resume"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_refusals_are_one_line(config_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(data__train="none.csv")
    assert main(["train", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("inarch: error: Cannot read ")
    assert err.count("\n") == 1
    assert not (path.parent / "run").exists()


def test_debug_shows_the_traceback(config_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(config_file(data__train="none.csv")), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_loss_that_is_not_finite(config_file: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = config_file(training__learning_rate=1e30, training__max_grad_norm=0)
    assert main(["train", str(path)]) == 2
    assert "inarch: error: The loss is " in capsys.readouterr().err


@pytest.mark.thorough  # test_resume kills a run too
def test_a_run_killed_by_the_system_resumes_to_the_same_bits(config_file: Write) -> None:
    schedule = {"training__num_train_epochs": 4}
    assert main(["train", str(config_file(**schedule, output="whole"))]) == 0
    path = config_file(**schedule)
    whole, killed = path.parent / "whole", path.parent / "run"
    with subprocess.Popen([*COMMAND, "train", str(path)], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(killed.glob("checkpoints/checkpoint-*/complete")):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert json.loads((killed / "run.json").read_text())["status"] == "running"
    assert main(["train", str(path), "--resume"]) == 0
    for name in ("metrics.jsonl", "metrics.json"):
        assert (killed / name).read_text() == (whole / name).read_text()
    one, other = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (whole, killed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
