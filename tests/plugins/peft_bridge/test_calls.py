"""The model stays the object it was: it is called, generates, is copied and pickled as itself."""

import copy
import inspect
import io
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

import inarch

from .conftest import batch_of, loaded_by_peft, one_layer, small
from families import Family, assert_same, logits, perturb, snapshot

ROUTED = ["cartridge", "multitask_prompt_tuning", "p_tuning", "poly", "prefix_tuning", "prompt_tuning", "shadow"]


@pytest.mark.parametrize("method", [*ROUTED, "oft"])
def test_generates_as_peft_does(method: str, llama: Family, tmp_path: Path) -> None:
    model, tokens = llama.model(), llama.batch()["input_ids"]
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    plain = model.generate(tokens, **options)
    before, base = snapshot(model), logits(model, llama.batch())
    adapter = inarch.attach(model, f"peft/{method}", **small(method))
    perturb(adapter, scale=0.5)
    assert not torch.equal(logits(model, llama.batch()), base)
    adapter.save(tmp_path)
    theirs = loaded_by_peft(llama.model(), tmp_path)
    task = {key: value for key, value in batch_of(llama, method).items() if key == "task_ids"}
    found = model.generate(tokens, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's, of position ids that transformers passes
        expected = theirs.generate(input_ids=tokens, **options, **task)
    assert torch.equal(found, expected)
    with adapter.disabled():
        assert torch.equal(model.generate(tokens, **options), plain)
    adapter.detach()
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("method", [*ROUTED, "adaption_prompt", "vblora"])
def test_a_copy_and_a_pickle_are_adapted_on_their_own(method: str, llama: Family) -> None:
    model = llama.model()
    base = logits(model, llama.batch())
    adapter = inarch.attach(model, f"peft/{method}", **small(method))
    perturb(adapter, scale=0.3)
    answer = logits(model, llama.batch())
    assert not torch.equal(answer, base)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for twin in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        assert torch.equal(logits(twin, llama.batch()), answer)
        handle = inarch.adapters(twin)["default"]
        perturb(handle, seed=8)
        assert torch.equal(logits(model, llama.batch()), answer)
        handle.detach()
        assert torch.equal(logits(twin, llama.batch()), base)
    assert torch.equal(logits(model, llama.batch()), answer)


@pytest.mark.parametrize("method", ["prompt_tuning", "shadow", "oft"])
def test_hooks_of_the_model_run_once(method: str, llama: Family) -> None:
    model = llama.model()
    inarch.attach(model, f"peft/{method}", **small(method))
    called: list[str] = []
    model.register_forward_pre_hook(lambda *_: called.append("before"))
    model.register_forward_hook(lambda *_: called.append("after"))
    logits(model, llama.batch())
    assert called == ["before", "after"]


def test_the_signature_stays(llama: Family) -> None:
    model: Any = llama.model()
    expected = inspect.signature(model.forward)
    inarch.attach(model, "peft/prompt_tuning", num_virtual_tokens=2)
    assert inspect.signature(model.forward) == expected


def test_several_tasks_are_told_apart(llama: Family) -> None:
    model = llama.model()
    adapter = inarch.attach(model, "peft/multitask_prompt_tuning", num_virtual_tokens=2, num_tasks=2)
    perturb(adapter, scale=0.5)
    first, second = (logits(model, llama.batch() | {"task_ids": torch.full((2,), task)}) for task in (0, 1))
    assert not torch.equal(first, second)
    with pytest.raises(ValueError, match="task_ids"):
        logits(model, llama.batch())


def test_begins_as_peft_begins(llama: Family) -> None:
    model, base = llama.model(), llama.model()
    torch.manual_seed(5)
    adapter = inarch.attach(model, "peft/loha", targets=("q_proj",))
    ours = torch.cat([parameter.flatten() for parameter in adapter.parameters()])
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoHaConfig(target_modules=["q_proj"])
        theirs = peft.get_peft_model(base, config)
    assert torch.equal(ours, torch.cat([p.flatten() for p in theirs.parameters() if p.requires_grad]))


@pytest.mark.parametrize("method", ["prompt_tuning", "unilora", "oft"])
def test_optimizers_and_state_dicts_see_it(method: str, llama: Family) -> None:
    model = llama.model()
    adapter = inarch.attach(model, f"peft/{method}", **small(method))
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in adapter.parameters()}
    perturb(adapter)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    fresh = llama.model()
    inarch.attach(fresh, f"peft/{method}", **small(method))
    fresh.load_state_dict(state)
    assert torch.equal(logits(fresh, llama.batch()), logits(model, llama.batch()))


def test_follows_the_model_while_it_is_off(llama: Family) -> None:
    model, batch = llama.model(), llama.batch()
    adapter = inarch.attach(model, "peft/lora", targets=("q_proj",), lora_dropout=0.5)
    perturb(adapter, scale=0.5)
    with adapter.disabled():
        model.train()
    assert not torch.equal(logits(model, batch), logits(model, batch))
    with adapter.disabled():
        model.eval()
    assert torch.equal(logits(model, batch), logits(model, batch))


def test_a_family_without_a_language_model(tmp_path: Path) -> None:
    family = one_layer("vit")
    model = family.model()
    adapter = inarch.attach(model, "peft/hra", **small("hra"))
    perturb(adapter)
    adapter.save(tmp_path)
    fresh = family.model()
    inarch.load(fresh, tmp_path)
    assert torch.equal(logits(fresh, family.batch()), logits(model, family.batch()))
