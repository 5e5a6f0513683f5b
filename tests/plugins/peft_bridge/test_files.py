"""Folders that peft wrote are read through the bridge, where no method of Inarch's own reads them."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn

import inarch
from inarch.errors import CheckpointError, CheckpointKeyError

from .conftest import SETTINGS, batch_of, loaded_by_peft, one_layer
from families import Family, assert_same, logits, perturb, snapshot

# torch's, at the first forward pass of SHiRA
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")

# One of each way in which peft keeps what it has learnt.
KINDS = [
    "adaption_prompt", "cartridge", "cpt", "lily", "multitask_prompt_tuning", "oft", "p_tuning", "prefix_tuning",
    "prompt_tuning", "shadow", "shira", "trainable_tokens", "unilora", "vblora",
]  # fmt: skip
CHOOSING = ("adaption_prompt", "shadow", "trainable_tokens")
"""Methods that choose their modules by themselves."""


def written_by_peft(model: nn.Module, folder: Path, method: str, task: str | None, **options: Any) -> nn.Module:
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(method.upper())]
    settings = {"task_type": task, **SETTINGS.get(method, {}), **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(model, config_class(**settings)).eval()
        perturb(_Trainable(adapted), scale=0.05)
        adapted.save_pretrained(folder)
    return adapted


class _Trainable:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]


@pytest.mark.parametrize("method", KINDS)
def test_reads_what_peft_writes(method: str, llama: Family, tmp_path: Path) -> None:
    options = (
        {} if "target_modules" not in dir(_config(method)) or method in CHOOSING else {"target_modules": ["q_proj"]}
    )
    theirs = logits(written_by_peft(llama.model(), tmp_path, method, "CAUSAL_LM", **options), batch_of(llama, method))
    model = llama.model()
    before = snapshot(model)
    adapter = inarch.load(model, tmp_path)
    assert adapter.method.name == f"peft/{method}"
    torch.testing.assert_close(logits(model, llama.batch()), theirs, rtol=0, atol=1e-6)
    adapter.save(tmp_path / "again")
    torch.testing.assert_close(
        logits(loaded_by_peft(llama.model(), tmp_path / "again"), batch_of(llama, method)), theirs, rtol=0, atol=1e-6
    )
    adapter.detach()
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("method", ["oft", "prompt_tuning"])
def test_reads_a_head_that_peft_trained(method: str, tmp_path: Path) -> None:
    family = one_layer("bert")
    options = {} if method == "prompt_tuning" else {"target_modules": ["query"]}
    theirs = logits(written_by_peft(family.model(), tmp_path, method, "SEQ_CLS", **options), family.batch())
    model = family.model()
    adapter = inarch.load(model, tmp_path)
    assert set(adapter.trained) == {"classifier.weight", "classifier.bias"}
    torch.testing.assert_close(logits(model, family.batch()), theirs, rtol=0, atol=1e-6)


def test_an_option_that_the_native_method_lacks_goes_through_the_bridge(llama: Family, tmp_path: Path) -> None:
    options = {"kasa_config": peft.KasaConfig(), "target_modules": ["q_proj"]}
    theirs = logits(written_by_peft(llama.model(), tmp_path, "lora", "CAUSAL_LM", **options), llama.batch())
    model = llama.model()
    adapter = inarch.load(model, tmp_path)
    assert adapter.method.name == "peft/lora"
    torch.testing.assert_close(logits(model, llama.batch()), theirs, rtol=0, atol=1e-6)


def test_the_native_method_comes_first(llama: Family, tmp_path: Path) -> None:
    written_by_peft(llama.model(), tmp_path, "lora", "CAUSAL_LM", target_modules=["q_proj"])
    assert inarch.load(llama.model(), tmp_path).method.name == "lora"


def test_ranks_that_a_schedule_left_out_are_read(llama: Family, tmp_path: Path) -> None:
    options = {"target_modules": ["q_proj"], "init_r": 4, "target_r": 2, "total_step": 3, "tfinal": 1, "deltaT": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(llama.model(), peft.AdaLoraConfig(task_type="CAUSAL_LM", **options)).eval()
    perturb(_Trainable(adapted), scale=0.05)
    for step in (1, 2):
        adapted(**llama.batch()).loss.backward()
        adapted.base_model.update_and_allocate(step)
    adapted.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert any(not all(kept) for kept in config["rank_pattern"].values())
    method = inarch.method("peft/adalora").peft
    assert method is not None
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "adapter_model.safetensors")
    model = llama.model()
    found, _, _ = method.read(model, config, tensors)
    adapter = inarch.attach(model, found)
    adapter.restore({**tensors, "inarch.steps": torch.tensor(2)})
    torch.testing.assert_close(logits(model, llama.batch()), logits(adapted, llama.batch()), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("entry", "value"), [("bias", "all"), ("nosuch", 1), ("alora_invocation_tokens", [1])])
def test_what_it_cannot_do_is_refused(entry: str, value: Any, llama: Family, tmp_path: Path) -> None:
    written_by_peft(llama.model(), tmp_path, "lora", "CAUSAL_LM", target_modules=["q_proj"])
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_dora": True, "kasa_config": {}, entry: value}))
    model = llama.model()
    before = snapshot(model)
    with pytest.raises(CheckpointError):
        inarch.load(model, tmp_path)
    assert_same(before, snapshot(model))


def test_a_missing_tensor_is_refused(llama: Family, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    written_by_peft(llama.model(), tmp_path, "oft", "CAUSAL_LM", target_modules=["q_proj"])
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(iter(tensors)))
    save_file(tensors | {"other": torch.zeros(1)}, file)
    with pytest.raises(CheckpointKeyError, match=r"1 missing.*1 unexpected"):
        inarch.load(llama.model(), tmp_path)


def test_the_configuration_is_purely_pefts(llama: Family, tmp_path: Path) -> None:
    for method in ("lora", "prompt_tuning", "trainable_tokens"):
        adapter = inarch.attach(llama.model(), f"peft/{method}", **SETTINGS.get(method, {}))
        adapter.save(tmp_path / method)
        written = json.loads((tmp_path / method / "adapter_config.json").read_text())
        fields = set(_config(method).__dataclass_fields__)
        assert written.keys() <= fields
        assert written["peft_type"] == method.upper()
        assert written["task_type"] == "CAUSAL_LM"


def _config(method: str) -> Any:
    return PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(method.upper())]
