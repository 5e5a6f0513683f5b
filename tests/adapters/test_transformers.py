"""What transformers does with a model works on an adapted one: its own Trainer and save_pretrained."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

import inarch

from families import FAMILIES, Family, logits, perturb


def test_a_saved_model_loads_as_the_base(tmp_path: Path, family: Family) -> None:
    model = family.model()
    plain = logits(model, family.batch())
    adapter = inarch.attach(model, "lora", train_head=False)
    perturb(adapter)
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model").eval()
    assert torch.equal(logits(again, family.batch()), plain)


def test_a_merged_model_saves_as_a_plain_one(tmp_path: Path) -> None:
    family = FAMILIES["bert"]
    model = family.model()
    adapter = inarch.attach(model, "lora")
    perturb(adapter)
    adapter.merge(keep_base=False)
    model.save_pretrained(tmp_path / "model")
    again, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["missing_keys"]
    assert torch.equal(logits(again.eval(), family.batch()), logits(model, family.batch()))


def test_trainer_trains_the_adapter_and_resumes_it(tmp_path: Path) -> None:
    family = FAMILIES["bert"]
    examples = [{name: value[0] for name, value in family.batch(seed).items()} for seed in range(8)]

    def trained(folder: Path, resume: bool, steps: int) -> tuple[inarch.Adapter, dict[str, Any]]:
        model = family.model()
        adapter = inarch.attach(model, "lora", dropout=0.1)
        arguments = TrainingArguments(
            str(folder), max_steps=steps, save_steps=2, learning_rate=1e-2, lr_scheduler_type="constant",
            per_device_train_batch_size=2, report_to="none", use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=examples).train(resume_from_checkpoint=resume)
        return adapter, {name: value.clone() for name, value in adapter.tensors().items()}

    start = inarch.attach(family.model(), "lora").tensors()
    _, whole = trained(tmp_path / "whole", resume=False, steps=4)
    trained(tmp_path / "parts", resume=False, steps=2)
    _, resumed = trained(tmp_path / "parts", resume=True, steps=4)
    assert whole.keys() == resumed.keys() == start.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], start[name]) for name in whole)
