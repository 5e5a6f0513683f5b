"""Runs on a base in four and eight bits."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

import inarch
from inarch.errors import ConfigError, FormatError, PlanError
from inarch.quant import QuantisedLinear
from inarch.training.config import read_config
from inarch.training.evaluation import evaluate
from inarch.training.preparation import prepare

from runs import Write, refused, run, tensors, tokenizer

pytestmark = pytest.mark.usefixtures("without_picture")


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose maps are large enough; its checkpoint has no pooler and no classification head."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=32, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_run_learns_and_is_measured_again(kind: str, wide: Path, config_file: Write) -> None:
    result = run(config_file(model=str(wide), quant=kind))
    assert result.metrics["validation"]["accuracy"] > 0.9
    # the pooler, which the checkpoint lacks, is trained and saved in floating point
    pooler = tensors(result.folder)["base_model.model.bert.pooler.dense.weight"]
    assert pooler.dtype == torch.float32
    assert evaluate(result.folder.path).reproduced
    assert result.folder.config().quant == kind


def test_the_base_is_loaded_in_few_bits(wide: Path, config_file: Write) -> None:
    path = config_file(model=str(wide), quant="nf4")
    model = prepare(read_config(path)).pretrained.model
    found = {name for name, module in model.named_modules() if isinstance(module, QuantisedLinear)}
    assert len(found) == 2 * 6
    assert not any("pooler" in name or "classifier" in name for name in found)


def test_a_stored_base_keeps_its_bytes(wide: Path, config_file: Write, tmp_path: Path) -> None:
    model = inarch.from_pretrained(BertForSequenceClassification, str(wide), "nf4")
    model.save_pretrained(tmp_path / "stored")
    tokenizer().save_pretrained(tmp_path / "stored")
    prepared = prepare(read_config(config_file(model=str(tmp_path / "stored"), quant="nf4"))).pretrained.model
    first, second = model.bert.encoder.state_dict(), prepared.bert.encoder.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    refused(config_file(model=str(tmp_path / "stored"), quant="int8"), ConfigError, "is stored in nf4, not int8")


def test_wrong_kinds_and_bases_are_refused(bert: Path, wide: Path, config_file: Write) -> None:
    refused(config_file(quant="nf5"), ConfigError, "quant is 'nf5'", 'did you mean "nf4"')
    refused(config_file(quant=4), ConfigError, "quant is 4")
    # of 32 features, which are too few
    refused(config_file(model=str(bert), quant="nf4"), PlanError, "Nothing in this BertForSequenceClassification")


def test_a_spoiled_base_is_refused_before_anything_is_trained(wide: Path, config_file: Write, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "stored"
    inarch.from_pretrained(BertForSequenceClassification, str(wide), "nf4").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    del state["bert.encoder.layer.1.output.dense.weight.absmax"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    path = config_file(model=str(folder), quant="nf4")
    refused(path, FormatError, "bert.encoder.layer.1.output.dense.weight lacks absmax")
