"""AdaLoRA's checkpoints go to peft and come from it, to the same logits."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import inarch
from inarch.errors import CheckpointError

from families import FAMILIES, Family, logits, perturb

SHORT = {"initial_rank": 4, "target_rank": 2, "steps": 12, "initial_warmup": 2, "final_warmup": 3, "interval": 2}
TARGETS = {
    "llama": ["q_proj", "down_proj"],
    "gpt2": ["c_attn", "c_fc"],
    "bert": ["query", "dense"],
    "t5": ["q", "wo"],
    "vit": ["q_proj", "fc1"],
}


def train(model: nn.Module, adapter: inarch.Adapter, batch: dict[str, Tensor], steps: int) -> None:
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    optimizer.zero_grad()


def peft_model(model: nn.Module, folder: Path, family: Family) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns of tensors that it misses and of settings that it does not know
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        warnings.filterwarnings("ignore", message="The following rank_pattern keys")  # of its own files too
        if family.name == "gpt2":
            warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # which peft then sets right
        return peft.PeftModel.from_pretrained(model, folder).eval()


def answer(model: nn.Module, family: Family) -> Tensor:
    """The logits; without labels, for which peft wants an adapter in training."""
    batch = {key: value for key, value in batch_of(family).items() if key != "labels"}
    return logits(model, batch | ({"decoder_input_ids": batch["input_ids"]} if family.name == "t5" else {}))


def batch_of(family: Family) -> dict[str, Tensor]:
    return {key: value.double() if value.is_floating_point() else value for key, value in family.batch().items()}


@pytest.mark.parametrize("steps", [0, 5, 12])
def test_peft_reads_what_inarch_writes(family: Family, steps: int, tmp_path: Path) -> None:
    """At the start, in the middle of the schedule with averages in the file, and with the ranks chosen."""
    model = family.model().double()
    torch.manual_seed(1)
    adapter = inarch.attach(model, "adalora", **SHORT)
    train(model, adapter, batch_of(family), steps)
    assert (adapter.method.rank_pattern is None) == (steps < 12)
    perturb(adapter, scale=0.05)
    adapter.save(tmp_path / "adapter")
    theirs = peft_model(family.model().double(), tmp_path / "adapter", family)
    torch.testing.assert_close(answer(model, family), answer(theirs, family), rtol=0, atol=1e-12)


def write_with_peft(family: Family, folder: Path, **settings: Any) -> nn.Module:
    """A model that peft has trained through a schedule and saved."""
    model = family.model().double()
    options: dict[str, Any] = {
        "init_r": 4,
        "target_r": 2,
        "total_step": 10,
        "tinit": 2,
        "tfinal": 3,
        "deltaT": 2,
        "lora_alpha": 8,
        "target_modules": TARGETS[family.name],
        "fan_in_fan_out": family.name == "gpt2",
        "modules_to_save": ["classifier"] if family.has_new_head else None,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, peft.AdaLoraConfig(**options | settings)).eval()
    # peft lets the ranks that it divides by be trained, and does not save them.
    trained = [p for name, p in adapted.named_parameters() if p.requires_grad and "ranknum" not in name.split(".")]
    optimizer = torch.optim.AdamW(trained, lr=0.05)
    for step in range(1, 11):
        optimizer.zero_grad()
        adapted(**batch_of(family)).loss.backward()
        optimizer.step()
        adapted.base_model.update_and_allocate(step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the ranks that are 0, which peft takes for shards
        adapted.save_pretrained(folder)
    return adapted


def test_inarch_reads_what_peft_writes(family: Family, tmp_path: Path) -> None:
    theirs = write_with_peft(family, tmp_path / "adapter")
    model = family.model().double()
    adapter = inarch.load(model, tmp_path / "adapter")
    torch.testing.assert_close(answer(model, family), answer(theirs, family), rtol=0, atol=1e-12)
    assert adapter.method.name == "adalora"
    assert sum(adapter.method.rank_pattern.values()) == 2 * len(adapter.sites)
    train(model, adapter, batch_of(family), 2)


def test_a_round_through_both_keeps_every_tensor(family: Family, tmp_path: Path) -> None:
    write_with_peft(family, tmp_path / "theirs")
    inarch.load(family.model().double(), tmp_path / "theirs").save(tmp_path / "ours")
    theirs, ours = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("theirs", "ours"))
    del ours["inarch.steps"]
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_the_config_is_what_peft_expects(tmp_path: Path) -> None:
    model = FAMILIES["llama"].model()
    inarch.attach(model, "adalora", **SHORT, alpha=6.0).save(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "ADALORA"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = peft.AdaLoraConfig.from_pretrained(tmp_path / "adapter")
    assert (read.init_r, read.target_r, read.lora_alpha, read.total_step) == (4, 2, 6.0, 12)
    assert (read.tinit, read.tfinal, read.deltaT, read.orth_reg_weight) == (2, 3, 2, 0.1)


@pytest.mark.parametrize("option", [{"bias": "all"}])
def test_options_that_change_the_function_are_refused(option: dict[str, Any], tmp_path: Path) -> None:
    write_with_peft(FAMILIES["bert"], tmp_path / "adapter", **option)
    model = FAMILIES["bert"].model()
    with pytest.raises(CheckpointError, match=next(iter(option))):
        inarch.load(model, tmp_path / "adapter")
    assert inarch.adapters(model) == {}
