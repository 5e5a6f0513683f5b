"""Every command and every block of code in the README is run, and every figure in it is one of the committed results."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import inarch
from inarch.cli.main import main
from inarch.quant import QuantisedLinear
from inarch_benchmarks import measured

from runs import rows, tokenizer, write_csv

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
HUB_ID = "distilbert/distilbert-base-uncased"


def blocks(language: str) -> list[str]:
    return [block for found, block in BLOCKS if found == language]


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    inline = re.findall(r"`((?:inarch|make|pip) [^`]+)`", README)
    return [line for line in dict.fromkeys([*lines, *inline]) if line]


def quantisable() -> LlamaForCausalLM:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where the README's model id is a local folder with a tiny model of that kind, so that no hub is needed."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=32, dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=64)
    config.architectures = ["DistilBertForMaskedLM"]
    DistilBertForMaskedLM(config).save_pretrained(tmp_path / HUB_ID)
    tokenizer().save_pretrained(tmp_path / HUB_ID)
    write_csv(tmp_path / "reviews.csv", rows(60))
    (tmp_path / "reviews.yaml").write_text(blocks("yaml")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_opens_with_the_two_commands() -> None:
    first = [line.split("#")[0].strip() for line in blocks("bash")[0].splitlines()]
    assert first == ["make demo", "make test"]
    assert README.index("```bash") < 500


def test_make_has_every_target_that_is_named() -> None:
    for command in commands():
        if command.startswith("make"):
            subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_every_inarch_command_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = [command for command in commands() if command.startswith("inarch")]
    assert {command.split()[1] for command in known} >= {"train", "eval", "methods", "plan", "plugins", "doctor"}
    for command in known:
        assert main(command.split()[1:]) == 0, capsys.readouterr().err


def test_every_other_command_is_known() -> None:
    assert {command for command in commands() if not command.startswith(("inarch", "make"))} == {"pip install ."}


def test_the_python_example_runs(place: Path) -> None:
    scope: dict[str, object] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), scope)
    adapter = scope["adapter"]
    assert isinstance(adapter, inarch.Adapter)
    assert adapter.merged
    assert len(scope["optimizer_sees"]) > 0  # type: ignore[arg-type]
    assert (place / "my-adapter" / "adapter_model.safetensors").exists()
    assert len(blocks("python")[0].splitlines()) <= 11


def test_several_adapters_work_as_in_the_readme(place: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(HUB_ID, num_labels=2)
    exec(compile(blocks("python")[1], "README.md", "exec"), {"inarch": inarch, "model": model})
    assert {name: adapter.weight for name, adapter in inarch.adapters(model).items()} == {"french": 1.0, "formal": 0.5}
    assert (place / "adapters" / "bundle.json").exists()


def test_a_base_is_quantised_as_in_the_readme() -> None:
    model = quantisable()
    ids = torch.randint(0, 32, (2, 8))
    scope: dict[str, object] = {"inarch": inarch, "model": model, "batch": {"input_ids": ids, "labels": ids}}
    exec(compile(blocks("python")[2], "README.md", "exec"), scope)
    adapter = scope["adapter"]
    assert isinstance(adapter, inarch.Adapter)
    assert all(isinstance(site.module, QuantisedLinear) for site in adapter.sites)


def test_the_method_in_the_readme_works(place: Path) -> None:
    scope: dict[str, object] = {"__name__": "readme_method"}
    exec(compile(blocks("python")[3], "README.md", "exec", dont_inherit=True), scope)
    registered: list[type[inarch.Method]] = []
    scope["register_methods"](registered.append)  # type: ignore[operator]
    from families import FAMILIES

    adapter = inarch.attach(FAMILIES["llama"].model(), registered[0]())
    assert {site.name.rsplit(".", 1)[-1] for site in adapter.sites} == {"v_proj", "down_proj"}


def test_the_toml_is_an_entry_point() -> None:
    import tomllib

    assert tomllib.loads(blocks("toml")[0])["project"]["entry-points"]["inarch"] == {"gain": "my_package.gain"}


def test_every_method_is_in_the_table() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert set(listed) >= {name for name in inarch.methods() if "/" not in name}


def test_the_measured_section_is_the_committed_results() -> None:
    assert measured.section() in README
    assert measured.rewritten(README) == README


def test_every_kind_of_block_is_tested() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python", "yaml", "toml"}
    assert (len(blocks("python")), len(blocks("yaml")), len(blocks("toml"))) == (4, 1, 1)
