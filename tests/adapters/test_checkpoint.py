import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save_file
from torch import nn
from transformers import BertForSequenceClassification

import inarch
from inarch.adapters import atomic, checkpoint
from inarch.adapters.checkpoint import Origin
from inarch.adapters.tensor_file import encoded
from inarch.errors import (
    CheckpointError,
    CheckpointKeyError,
    DuplicateNameError,
    MissingPluginError,
    WrongBaseError,
)

from families import FAMILIES, LABELS, logits, perturb

BERT = FAMILIES["bert"]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = BERT.model()
    adapter = inarch.attach(model, "lora", rank=4)
    perturb(adapter)
    adapter.save(tmp_path / "adapter")
    return tmp_path / "adapter"


def refused(folder: Path, error: type[Exception], match: str, model: nn.Module | None = None, **options: Any) -> None:
    """Loading is refused with a message of one line, and the model is untouched."""
    model = model or BERT.model()
    before = logits(model, BERT.batch())
    with pytest.raises(error, match=match) as caught:
        inarch.load(model, folder, **options)
    assert "\n" not in str(caught.value)
    assert inarch.adapters(model) == {}
    assert torch.equal(logits(model, BERT.batch()), before)


def edit(folder: Path, change: Any) -> None:
    """Change the tensors of a checkpoint and keep its record."""
    path = folder / "adapter_model.safetensors"
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


A_KEY = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"


def test_missing_tensor(saved: Path) -> None:
    edit(saved, lambda tensors: tensors.pop(A_KEY))
    refused(saved, CheckpointKeyError, "1 missing: .*layer.0.attention.self.query.lora_A.weight")


def test_unexpected_tensor(saved: Path) -> None:
    edit(saved, lambda tensors: tensors.update(stray=torch.zeros(1)))
    refused(saved, CheckpointKeyError, "1 unexpected: stray")


def test_mis_shaped_tensor(saved: Path) -> None:
    edit(saved, lambda tensors: tensors.update({A_KEY: torch.zeros(4, 31)}))
    refused(saved, CheckpointKeyError, r"1 of another shape: .*\(4, 31\) for \(4, 32\)")


def test_other_number_of_labels(saved: Path) -> None:
    config = BERT.model().config
    config.num_labels = LABELS + 1
    torch.manual_seed(0)
    refused(saved, CheckpointKeyError, "number of labels", BertForSequenceClassification(config).eval())


def test_other_weights(saved: Path) -> None:
    refused(saved, WrongBaseError, "other weights.*check_base=False", BERT.model(seed=5))
    inarch.load(BERT.model(seed=5), saved, check_base=False)


def test_other_structure(saved: Path) -> None:
    config = BERT.model().config
    config.num_hidden_layers = 3
    deeper = BertForSequenceClassification(config).eval()
    refused(saved, WrongBaseError, "another base model: BertForSequenceClassification", deeper)


def test_other_architecture(saved: Path) -> None:
    model = FAMILIES["llama"].model()
    with pytest.raises(WrongBaseError, match="another base model"):
        inarch.load(model, saved)
    with pytest.raises(CheckpointKeyError, match="has no linear or experts or convolution module"):
        inarch.load(model, saved, check_base=False)


def test_another_precision_is_the_same_base(saved: Path) -> None:
    inarch.load(BERT.model().to(torch.bfloat16), saved)
    inarch.load(BERT.model().to(torch.float64), saved)


def test_missing_plugin_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inarch_plugins.bitfit import BitFit

    @dataclass(frozen=True, kw_only=True)
    class Stranger(BitFit):
        """A method of a package that is gone."""

        name = "stranger"

    adapter = inarch.attach(BERT.model(), Stranger())
    monkeypatch.setattr(adapter, "_origin", lambda method: Origin("stranger", "inarch-stranger", "1.2"))
    adapter.save(tmp_path / "adapter")
    refused(tmp_path / "adapter", MissingPluginError, "pip install inarch-stranger==1.2")


def test_name_taken(saved: Path) -> None:
    model = BERT.model()
    inarch.load(model, saved)
    with pytest.raises(DuplicateNameError, match="default"):
        inarch.load(model, saved)
    inarch.load(model, saved, name="second")
    assert list(inarch.adapters(model)) == ["default", "second"]


@pytest.mark.parametrize("content", [b"", b"junk that is no header", b"\xff" * 64])
def test_broken_tensor_file(saved: Path, content: bytes) -> None:
    (saved / "adapter_model.safetensors").write_bytes(content)
    refused(saved, CheckpointError, "cannot be read as safetensors")


def test_truncated_tensor_file(saved: Path) -> None:
    path = saved / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    refused(saved, CheckpointError, "cannot be read as safetensors")


def test_broken_config(saved: Path) -> None:
    (saved / "adapter_config.json").write_text("{")
    refused(saved, CheckpointError, "cannot be read as JSON")


def test_missing_files(saved: Path, tmp_path: Path) -> None:
    (saved / "adapter_config.json").unlink()
    refused(saved, CheckpointError, "holds no adapter_config.json")
    (saved / "adapter_model.safetensors").unlink()
    refused(saved, CheckpointError, "holds no adapter_model.safetensors")
    refused(tmp_path / "nowhere", CheckpointError, "is not a folder")


def test_pickles_are_not_read(saved: Path) -> None:
    tensors = load_file(saved / "adapter_model.safetensors")
    (saved / "adapter_model.safetensors").unlink()
    torch.save(tensors, saved / "adapter_model.bin")
    refused(saved, CheckpointError, "Only safetensors is read, and it holds adapter_model.bin")


def test_newer_format(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "FORMAT", 0)
    refused(saved, CheckpointError, "pip install -U inarch")


def test_neither_inarch_nor_peft(saved: Path) -> None:
    save_file(load_file(saved / "adapter_model.safetensors"), saved / "adapter_model.safetensors")
    (saved / "adapter_config.json").write_text("{}")
    refused(saved, CheckpointError, "neither Inarch nor peft")


def test_only_trained_tensors_are_written(saved: Path) -> None:
    keys = load_file(saved / "adapter_model.safetensors").keys()
    assert {key for key in keys if ".lora_" not in key} == {
        "base_model.model.classifier.weight",
        "base_model.model.classifier.bias",
    }


def test_method_unknown_to_peft_names_its_plugin(tmp_path: Path) -> None:
    inarch.attach(BERT.model(), "bitfit").save(tmp_path / "adapter")
    record = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["inarch"]
    assert (record["method"], record["plugin"], record["distribution"]) == ("bitfit", "bitfit", "inarch")
    assert record["version"] == inarch.__version__


def test_partly_trained_modules_are_no_peft_checkpoint_and_come_back(tmp_path: Path) -> None:
    model = BERT.model()
    adapter = inarch.attach(model, "lora", train=("bert.pooler.dense.bias",))
    perturb(adapter)
    adapter.save(tmp_path / "adapter")
    assert "peft_type" not in json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    fresh = BERT.model()
    inarch.load(fresh, tmp_path / "adapter")
    assert torch.equal(logits(fresh, BERT.batch()), logits(model, BERT.batch()))


def test_saving_again_keeps_what_else_lies_there(saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    (saved / "more").mkdir()
    (saved / "more" / "deep.txt").write_text("mine too")
    inarch.load(BERT.model(), saved).save(saved)
    assert (saved / "notes.txt").read_text() == "mine"
    assert (saved / "more" / "deep.txt").read_text() == "mine too"
    assert [entry.name for entry in saved.parent.iterdir()] == ["adapter"]


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    adapter = inarch.attach(BERT.model(), "lora")
    with pytest.raises(CheckpointError, match="cannot be written"):
        adapter.save(tmp_path / "file" / "adapter")


def test_restore_is_strict(saved: Path) -> None:
    adapter = inarch.load(BERT.model(), saved)
    before = {key: value.clone() for key, value in adapter.tensors().items()}
    with pytest.raises(CheckpointKeyError, match="missing"):
        adapter.restore(dict(list(before.items())[1:]))
    perturb(adapter)
    adapter.restore(before)
    assert all(torch.equal(value, before[key]) for key, value in adapter.tensors().items())


@pytest.mark.parametrize("exchange", [True, False])
def test_a_failed_write_leaves_the_old_checkpoint(saved: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchanged", lambda one, other: exchange)
    old = {path.name: path.read_bytes() for path in saved.iterdir()}
    adapter = inarch.load(BERT.model(), saved)
    perturb(adapter)

    def fail(path: Path, pieces: Any) -> None:
        if path.name == "adapter_config.json":
            raise OSError(28, "No space left on device")
        path.write_bytes(b"".join(pieces))

    monkeypatch.setattr(atomic, "_write_file", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        adapter.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == old
    assert [entry.name for entry in saved.parent.iterdir()] == ["adapter"]


def test_without_exchange_the_old_folder_comes_back_after_a_kill(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchanged", lambda one, other: False)
    adapter = inarch.load(BERT.model(), saved)
    adapter.save(saved)
    inarch.load(BERT.model(), saved)
    saved.rename(saved.with_name("adapter.previous"))  # a kill between the two renames
    inarch.load(BERT.model(), saved)
    assert not saved.with_name("adapter.previous").exists()


KILLS = """
    import itertools, os, signal, sys, time
    from pathlib import Path
    from inarch.adapters.atomic import settled, write_folder

    folder, outcomes = Path(sys.argv[1]), set()
    for moment in range(60):
        writer = os.fork()
        if writer == 0:
            for value in itertools.count(1):
                text = str(value).encode() * 20000
                write_folder(folder, {"one": [text], "two": [text]})
        time.sleep(0.002 + moment * 0.0007)
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        if settled(folder).exists():
            one, two = ((folder / name).read_bytes() for name in ("one", "two"))
            assert one == two, moment
            outcomes.add(one[:9])
    print(len(outcomes))
"""


def test_a_kill_at_any_moment_leaves_one_whole_checkpoint(tmp_path: Path) -> None:
    """A writer that never stops is killed at sixty different moments; the two files always belong together."""
    script = [sys.executable, "-c", textwrap.dedent(KILLS), str(tmp_path / "folder")]
    result = subprocess.run(script, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5  # the kills fell into different writes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool])
def test_the_tensor_file_is_what_the_library_reads(dtype: torch.dtype) -> None:
    tensors = {
        "matrix": torch.randn(3, 5).to(dtype),
        "scalar": torch.tensor(2.0).to(dtype),
        "empty": torch.empty(0, 4, dtype=dtype),
        "transposed": torch.randn(4, 6).to(dtype).T,
        "wide": torch.randn(7, dtype=torch.float64),
    }
    found = load(b"".join(encoded(tensors, {"format": "pt"})))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_library_reads_an_empty_file() -> None:
    assert load(b"".join(encoded({}, {"format": "pt"}))) == {}


def test_copying_the_folder_moves_the_adapter(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "elsewhere")
    inarch.load(BERT.model(), tmp_path / "elsewhere")


def test_a_hub_id_is_fetched(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def snapshot_download(hub_id: str, allow_patterns: list[str]) -> str:
        asked.append(hub_id)
        return str(saved)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    inarch.load(BERT.model(), "somebody/adapter")
    assert asked == ["somebody/adapter"]


def test_a_hub_id_that_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="somebody/adapter is neither a folder here nor reachable on the hub"):
        inarch.load(BERT.model(), "somebody/adapter")
