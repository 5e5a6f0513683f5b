"""peft's methods through the command line: trained, killed and resumed, evaluated, listed."""

import json

import pytest

import inarch
from inarch.cli.main import main
from inarch.errors import InarchError, TrainingError
from inarch.training.evaluation import evaluate

from runs import KillAt, Killed, Write, assert_same_run, run
from sampled import one_of

pytestmark = pytest.mark.usefixtures("without_picture")
TARGETS = ["@attention.query", "@attention.value"]
METHODS = {
    "peft/loha": {"r": 4, "targets": TARGETS, "module_dropout": 0.1},
    "peft/prompt_tuning": {"num_virtual_tokens": 4},
    "peft/prefix_tuning": {"num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 8},
    "peft/unilora": {"targets": TARGETS},
}


@pytest.mark.parametrize("method", one_of(METHODS))
def test_a_killed_run_resumes_to_the_same_bits(method: str, config_file: Write) -> None:
    settings = {"method": {"name": method, **METHODS[method]}, "training__num_train_epochs": 2}
    whole = run(config_file(**settings, output="whole"))
    path = config_file(**settings)
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 8)])
    assert_same_run(whole.folder, run(path, resume=True).folder)
    assert evaluate(whole.folder.path).reproduced is True


def test_a_schedule_does_not_go_on_as_if_nothing_had_been(config_file: Write) -> None:
    path = config_file(method={"name": "peft/adalora", "init_r": 4, "target_r": 2, "targets": TARGETS})
    with pytest.raises(Killed):
        run(path, callbacks=[KillAt("on_step_end", 8)])
    with pytest.raises(TrainingError, match="Train from the beginning"):
        run(path, resume=True)


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json", "peft/oft", "peft/lily"]) == 0
    oft, lily = json.loads(capsys.readouterr().out)
    assert (oft["name"], oft["peft_type"], oft["plugin"]) == ("peft/oft", "OFT", "peft")
    assert oft["supports"]["merge"] is True
    assert lily["supports"]["merge"] is False
    assert main(["methods", "peft/lily"]) == 0
    assert "merge: no" in " ".join(capsys.readouterr().out.split())
    assert main(["methods", "peft/lilly"]) == 2
    assert 'did you mean "peft/lily"' in capsys.readouterr().err


def test_methods_of_the_registry() -> None:
    assert {"lora", "peft/lora"} <= inarch.methods().keys()
    assert inarch.methods()["peft/lora"].summary.startswith("Hugging Face peft's LORA: ")
    with pytest.raises(InarchError, match="peft/lora"):
        inarch.method("peft/lorra")
