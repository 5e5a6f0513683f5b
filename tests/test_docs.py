"""Every block of code on the pages about methods is run, in order, as a reader would run it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inarch.cli.main import main
from inarch.registry import registry
from inarch.testing import LAWS

from runs import rows, tokenizer, write_csv

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("writing-a-method.md", "kinds-of-methods.md")  # in the order in which they are read
TEXT = "\n".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
HUB_ID = "distilbert/distilbert-base-uncased"
PACKAGE, MODULE = "inarch-lora-xs", "inarch_lora_xs"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with the data and the model that the pages speak of."""
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=32, dim=32, hidden_dim=64, n_layers=2, n_heads=2, max_position_embeddings=64)
    config.architectures = ["DistilBertForMaskedLM"]
    DistilBertForMaskedLM(config).save_pretrained(tmp_path / HUB_ID)
    tokenizer().save_pretrained(tmp_path / HUB_ID)
    write_csv(tmp_path / "reviews.csv", rows(60))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    monkeypatch.undo()
    sys.modules.pop(MODULE, None)
    registry.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What ``pip install --editable`` does to a process that starts after it."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("INARCH_PLUGINS", MODULE)
    registry.cache_clear()


def run_python(block: str, scope: dict[str, object]) -> None:
    """Run a block; one that opens with the name of a file is written there, as the pages say."""
    named = re.match(r"# (\S+\.py)\n", block)
    if named:
        assert Path(named[1]).exists(), "the pages rewrite files that inarch new-method has written"
        Path(named[1]).write_text(block.split("\n", 1)[1], encoding="utf-8")
    else:
        exec(compile(block, "docs", "exec", dont_inherit=True), scope)


def test_the_pages_run_from_top_to_bottom(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scope: dict[str, object] = {"__name__": "pages"}
    monkeypatch.setitem(sys.modules, "pages", sys.modules[__name__])  # where dataclasses look up the names of types
    for language, block in BLOCKS:
        if language == "python":
            run_python(block, scope)
        elif language == "yaml":
            named = block.split("\n", 1)[0].removeprefix("# ")
            (place / named).write_text(block)
        elif language == "bash":
            for line in block.splitlines():
                if line.startswith("pip install --editable"):
                    install(monkeypatch, place / line.split()[-1])
                else:
                    assert main(line.split()[1:]) == 0, (line, capsys.readouterr())
    assert (place / "runs" / "lora-xs" / "adapter").exists()


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https://") or (DOCS / target).exists(), target


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {language for language, _ in BLOCKS} == {"bash", "python", "toml", "yaml"}
    commands = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
    assert [line for line in commands if not line.startswith("inarch ")] == [f"pip install --editable {PACKAGE}"]
    assert [language for language, _ in BLOCKS].count("yaml") == 1


def test_the_laws_are_those_of_the_kit() -> None:
    listed = re.findall(r"^\| (\d+) `([\w-]+)` \| (.*) \|$", TEXT, re.MULTILINE)
    assert listed == [(str(law.number), law.name, law.promise) for law in LAWS]


def test_the_kinds_are_those_of_the_api() -> None:
    import inarch

    listed = set(re.findall(r"^\| `(\w+Adapter)` \|", TEXT, re.MULTILINE))
    kinds = {name for name in inarch.__all__ if name.endswith("Adapter")}
    assert listed == kinds - {"Adapter", "SiteAdapter", "ModelAdapter"}


def test_the_entry_point_is_the_one_that_new_method_writes(place: Path) -> None:
    import tomllib

    assert main(["new-method", "lora-xs"]) == 0
    written = tomllib.loads((place / PACKAGE / "pyproject.toml").read_text())
    (shown,) = (tomllib.loads(block) for language, block in BLOCKS if language == "toml")
    assert shown["project"]["entry-points"] == written["project"]["entry-points"]
    assert (place / PACKAGE / "test_inarch_lora_xs.py").read_text().splitlines()[-1].startswith("test_laws = laws_of(")
