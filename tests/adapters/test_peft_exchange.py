"""LoRA checkpoints go to peft and come from it, to the same logits: peft is the oracle."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import inarch
from inarch.errors import CheckpointError

from families import FAMILIES, Family, logits, perturb

# Held in float32 as users run it, and in float64, where nothing but the mathematics can differ. The variants whose scale is
# no power of two are held in float64 alone: peft rounds after scaling and we do not, so in float32 they differ by some
# units in the last place, which is more than 1e-6 where logits are large.
PRECISIONS = {torch.float32: 1e-6, torch.float64: 1e-12}
TASKS = {"llama": "CAUSAL_LM", "gpt2": "CAUSAL_LM", "bert": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM", "vit": None}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"rank_stabilised": True, "rank": 3},
    "patterns": {"rank_pattern": {"*.1.*": 2}, "alpha_pattern": {"*.0.*": 5}},
}


def peft_model(model: nn.Module, config: peft.PeftConfig | Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the layout of Conv1D weights, which peft then sets right
        if isinstance(config, Path):
            return peft.PeftModel.from_pretrained(model, config).eval()
        return peft.get_peft_model(model, config).eval()


def assert_same_logits(ours: nn.Module, theirs: nn.Module, family: Family, *, plain: bool = True) -> None:
    for dtype, tolerance in PRECISIONS.items():
        if dtype == torch.float32 and not plain:
            continue
        batch = {key: v.to(dtype) if v.is_floating_point() else v for key, v in family.batch().items()}
        one, other = (logits(model.to(dtype), batch) for model in (ours, theirs))
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def write_with_peft(family: Family, folder: Path, **options: Any) -> nn.Module:
    """A model with a LoRA of random values (and a random head), saved by peft."""
    model = family.model()
    settings = {"r": 4, "target_modules": "all-linear", "task_type": TASKS[family.name], "init_lora_weights": False}
    if family.name == "vit":
        settings["modules_to_save"] = ["classifier"]
    adapted = peft_model(model, peft.LoraConfig(**settings | options))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name or "lora_B" in name:
                parameter.normal_(std=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted.save_pretrained(folder)
    return adapted


@pytest.mark.parametrize("variant", VARIANTS)
def test_peft_reads_what_inarch_writes(family: Family, variant: str, tmp_path: Path) -> None:
    model = family.model()
    adapter = inarch.attach(model, "lora", **{"rank": 4, **VARIANTS[variant]})
    perturb(adapter, scale=0.05)
    adapter.save(tmp_path / "adapter")
    assert_same_logits(model, peft_model(family.model(), tmp_path / "adapter"), family, plain=variant == "plain")


@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"rank_pattern": {"0.*": 2}, "alpha_pattern": {"0.*": 3}}]
)
def test_inarch_reads_what_peft_writes(family: Family, options: dict[str, Any], tmp_path: Path) -> None:
    theirs = write_with_peft(family, tmp_path / "adapter", **options)
    model = family.model()
    adapter = inarch.load(model, tmp_path / "adapter")
    assert_same_logits(model, theirs, family, plain=not options)
    assert adapter.method.name == "lora"


def test_a_round_through_both_keeps_every_tensor(family: Family, tmp_path: Path) -> None:
    write_with_peft(family, tmp_path / "theirs")
    adapter = inarch.load(family.model(), tmp_path / "theirs")
    adapter.save(tmp_path / "ours")
    from safetensors.torch import load_file

    theirs, ours = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)


def test_transformers_loads_it(tmp_path: Path) -> None:
    family = FAMILIES["llama"]
    model = family.model()
    perturb(adapter := inarch.attach(model, "lora"), scale=0.05)
    adapter.save(tmp_path / "adapter")
    fresh = family.model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh.load_adapter(tmp_path / "adapter")
    assert_same_logits(model, fresh, family)


def test_the_config_is_what_peft_expects(tmp_path: Path) -> None:
    model = FAMILIES["bert"].model()
    inarch.attach(model, "lora", rank=4, targets=("query", "value")).save(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["task_type"] == "SEQ_CLS"
    assert config["modules_to_save"] == ["classifier"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns of entries that it does not know
        assert peft.LoraConfig.from_pretrained(tmp_path / "adapter").r == 4


@pytest.mark.parametrize("option", [{"init_lora_weights": "olora"}, {"bias": "all"}, {"lora_bias": True}])
def test_options_that_change_the_function_are_not_read_as_lora(option: dict[str, Any], tmp_path: Path) -> None:
    write_with_peft(FAMILIES["bert"], tmp_path / "adapter", **option)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    lora = inarch.method("lora")
    assert lora.peft is not None
    with pytest.raises(CheckpointError, match=next(iter(option))):
        lora.peft.method(config, {})


def test_methods_that_nobody_knows_are_named(tmp_path: Path) -> None:
    inarch.attach(FAMILIES["llama"].model(), "lora").save(tmp_path / "adapter")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")  # without Inarch's record
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "GRAFT"}))
    with pytest.raises(CheckpointError, match="GRAFT"):
        inarch.load(FAMILIES["llama"].model(), tmp_path / "adapter")
