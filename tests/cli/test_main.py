import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from transformers import LlamaConfig

import inarch
from inarch.cli.main import main
from inarch.registry import PluginWarning, Registry

COMMANDS = {"bench", "check", "demo", "doctor", "eval", "methods", "new-method", "plan", "plugins", "train"}


@pytest.fixture
def model_folder(tmp_path: Path) -> str:
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=64
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    whole = capsys.readouterr().out
    assert main([]) == 0
    assert capsys.readouterr().out.strip() == whole.strip()
    listed = {line.split()[0] for line in whole.split("Commands:")[1].splitlines() if line.strip()}
    assert listed == COMMANDS
    for command in COMMANDS - {"bench"}:
        assert main([command, "--help"]) == 0
        assert "--json" in capsys.readouterr().out
    assert main(["bench", "--help"]) == 0
    of_bench = capsys.readouterr().out.split("Commands:")[1].splitlines()
    for command in {line.split()[0] for line in of_bench if line.strip()}:
        assert main(["bench", command, "--help"]) == 0
        assert "--json" in capsys.readouterr().out, command


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == inarch.__version__


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["methodz"], "methodz"),
        (["plan"], "Missing argument"),
        (["methods", "--nosuch"], "--nosuch"),
        (["plan", "nowhere-at-all"], "nowhere-at-all has no configuration"),
        (["train", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("inarch: error: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_debug_shows_the_traceback_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--debug", "train", "nowhere.yaml"], ["train", "nowhere.yaml", "--debug"]):
        assert main(words) == 2
        assert "Traceback" in capsys.readouterr().err


def test_methods_lists_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("bitfit", "full", "head", "lora", "rank=8"))
    assert main(["methods", "--json"]) == 0
    listed = [info["name"] for info in json.loads(capsys.readouterr().out)]
    assert listed == sorted(inarch.methods())
    assert {"lora", "adalora", "bottleneck", "prefix", "peft/lora"} <= set(listed)


def test_plugins_lists_what_each_provides(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--json"]) == 0
    provided = {plugin["name"]: plugin["provides"] for plugin in json.loads(capsys.readouterr().out)}
    assert provided["lora"] == ["method lora"]
    assert provided["text-classification"] == ["task text-classification"]
    assert main(["plugins"]) == 0
    assert "task text-classification" in capsys.readouterr().out


def test_plan_counts_for_every_method(model_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", model_folder, "--json"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)["methods"]}
    # 2 layers x rank 8 x the two sides of q, k, v, o (32 + 32), gate, up and down (32 + 48)
    assert rows["lora"]["trainable"] == 2 * 8 * (4 * 64 + 3 * 80)
    assert rows["lora"]["coverage"] == 1.0
    assert rows["full"]["share"] == 1.0
    assert "@bias" in rows["bitfit"]["refused"]
    assert main(["plan", model_folder, "--method", "lora"]) == 0
    assert "7,936" in capsys.readouterr().out


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "transformers" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inarch"] == inarch.__version__


def test_a_plugin_left_out_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def add_commands(self: object, app: object) -> None:
        warnings.warn('Inarch left out the plugin "x" of inarch-x 1: reason', PluginWarning, stacklevel=1)

    monkeypatch.setattr(Registry, "add_commands", add_commands)
    assert main(["--version"]) == 0
    assert capsys.readouterr().err == 'inarch: warning: Inarch left out the plugin "x" of inarch-x 1: reason\n'


def test_an_interrupt_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inarch.cli.doctor.examination", interrupt)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err.strip() == "inarch: error: interrupted"


def test_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "inarch", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == inarch.__version__
