import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainerCallback

from inarch.errors import InarchError
from inarch.training.config import read_config
from inarch.training.folder import RunFolder
from inarch.training.run import RunResult, train

GOOD, BAD = ["good", "great", "fine", "lovely"], ["bad", "awful", "poor", "nasty"]
REST = ["film", "book", "song", "very", "not", "the"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def without_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes half of the time of so small a run; the tests of the command and of the curve draw."""
    monkeypatch.setattr("inarch.training.run.draw_curve", lambda *arguments: None)


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Sentences whose first word tells the label."""
    draw = random.Random(seed)
    made = []
    for index in range(count):
        label, telling = ("good", GOOD) if index % 2 else ("bad", BAD)
        words = [draw.choice(telling), *draw.choices(REST, k=draw.randint(2, 6))]
        made.append({"text": " ".join(words), "label": label})
    return made


def write_csv(path: Path, content: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(content[0]))
        writer.writeheader()
        writer.writerows(content)
    return path


def write_jsonl(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return path


def write_parquet(path: Path, content: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), path)
    return path


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[EOS]", *GOOD, *BAD, *REST])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]", model_max_length=64
    )


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as a masked language model: its checkpoint has no pooler and no classification head."""
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("models") / "bert"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=32,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2 whose tokenizer has no padding token."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "gpt2"
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=32, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(folder)
    without_padding = tokenizer()
    without_padding.pad_token = None
    without_padding.save_pretrained(folder)
    return folder


@pytest.fixture
def config_file(tmp_path: Path, bert: Path) -> Callable[..., Path]:
    """Writes a run.yaml beside its data, with ``section__key`` arguments over the defaults; a None takes a key out."""
    write_csv(tmp_path / "train.csv", rows(48))
    write_csv(tmp_path / "validation.csv", rows(16, seed=1))

    def write(**changes: Any) -> Path:
        content: dict[str, Any] = {
            "model": str(bert),
            "task": "text-classification",
            "data": {"train": "train.csv", "validation": "validation.csv"},
            "method": {"name": "lora", "rank": 4, "dropout": 0.1},
            "training": {"learning_rate": 0.01, "num_train_epochs": 3, "logging_steps": 4, "use_cpu": True},
            "seed": 0,
            "output": "run",
        }
        for name, value in changes.items():
            *sections, key = name.split("__")
            place = content
            for section in sections:
                place = place.setdefault(section, {})
            place[key] = value
            if value is None:
                del place[key]
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return write


Write = Callable[..., Path]


class Killed(BaseException):
    """What no handler of errors catches, like a kill."""


class KillAt(TrainerCallback):
    def __init__(self, event: str, step: int) -> None:
        self.step = step
        setattr(self, event, self.kill)

    def kill(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step == self.step:
            raise Killed


def run(path: Path, **settings: Any) -> RunResult:
    return train(read_config(path), **settings)


def tensors(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.adapter / "adapter_model.safetensors")


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    assert one.metric_lines.read_text() == other.metric_lines.read_text()
    assert one.read("metrics.json") == other.read("metrics.json")
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def refused(path: Path, kind: type[InarchError], *parts: str) -> None:
    """The run is refused in one line with these parts, and leaves nothing behind."""
    before = set(path.parent.rglob("*"))
    with pytest.raises(kind) as error:
        run(path)
    assert "\n" not in str(error.value)
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert set(path.parent.rglob("*")) == before
