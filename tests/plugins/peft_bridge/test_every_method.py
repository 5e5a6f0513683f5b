"""Every method that the installed peft offers, on every family: attached, trained, saved, loaded, switched off, detached.

What peft refuses is listed here with its reason, so a method that newly works, or newly breaks, fails a test.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import Tensor, nn

import inarch
from inarch.errors import InarchError, MergeError

from .conftest import batch_of, loaded_by_peft, one_layer, small
from families import FAMILIES, Family, assert_same, logits, perturb, snapshot

METHODS = [str(peft_type.value).lower() for peft_type in PEFT_TYPE_TO_CONFIG_MAPPING]

# fmt: off
NOT_ON_CONV1D = [
    "adamss", "beft", "boft", "c3a", "delora", "glora", "hra", "lily", "loha", "lokr", "miss", "oft", "osf", "peanut",
    "poly", "psoft", "road", "shira", "supertuning",
]
# fmt: on
PROMPTS = ["cartridge", "cpt", "multitask_prompt_tuning", "p_tuning", "prefix_tuning", "prompt_tuning"]
REFUSED: dict[tuple[str, str], str] = (
    {(method, "gpt2"): "Conv1D" for method in NOT_ON_CONV1D}
    | {(method, "vit"): "learns prompts for models of the tasks" for method in PROMPTS}
    | {("adaption_prompt", family): "Unsupported model type" for family in ("bert", "t5", "vit")}
    | {("cpt", family): "only supports task_type = CAUSAL_LM" for family in ("bert", "t5")}
    | {("shadow", family): "Unable to automatically find" for family in ("bert", "t5")}
    | {("trainable_tokens", "vit"): "has no attribute 'weight'"}
    | {("xlora", family): "`use_cache` must be False|no default for adapters" for family in FAMILIES}
)
CANNOT_COMPUTE = {("shadow", "vit"): "'NoneType' object has no attribute 'dtype'"}
"""What peft lets in, and fails at in the forward pass."""
ALONE = {("poly", "vit")}
"""Where peft has no model of its own that would pass the task on."""
NOT_MERGED = dict.fromkeys([*PROMPTS, "adaption_prompt"], "no change of the base weights") | {
    "beft": "has no bias",
    "lily": "not supported for Lily",
    "poly": "NotImplementedError",
    "shadow": "cannot be merged into the base model",
}
"""What cannot be merged on the Llama family."""
MOVES = {"cpt"}
"""Methods that project their parameters anew in every forward pass, so that two answers differ by rounding."""

# torch's, at the first forward pass of FRoD
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")


@pytest.fixture(
    params=[name if name in ("llama", "bert") else pytest.param(name, marks=pytest.mark.thorough) for name in FAMILIES],
    scope="module",
)
def family(request: pytest.FixtureRequest) -> Family:
    return one_layer(request.param)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, family: Family, tmp_path: Path) -> None:
    model = family.model()
    before, base = snapshot(model), logits(model, family.batch())
    if (method, family.name) in REFUSED:
        with pytest.raises(InarchError, match=REFUSED[method, family.name]):
            inarch.attach(model, f"peft/{method}", **small(method))
        assert_same(before, snapshot(model))
        assert inarch.adapters(model) == {}
        return
    adapter = inarch.attach(model, f"peft/{method}", **small(method))
    if (method, family.name) in CANNOT_COMPUTE:
        with pytest.raises(AttributeError, match=CANNOT_COMPUTE[method, family.name]):
            logits(model, family.batch())
    else:
        assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in adapter.parameters()}
        descend(model, adapter, family)
        answer = logits(model, family.batch())
        saved_and_loaded(adapter, family, method, answer, tmp_path)
        with adapter.disabled():
            assert torch.equal(logits(model, family.batch()), base)
        same(method, logits(model, family.batch()), answer)
    adapter.detach()
    assert_same(before, snapshot(model))
    assert torch.equal(logits(model, family.batch()), base)


def descend(model: nn.Module, adapter: inarch.Adapter, family: Family) -> None:
    """A short step down the gradient lowers the loss, and changes the adapter alone."""
    loss = model(**family.batch()).loss
    loss.backward()
    moved = [parameter for parameter in adapter.parameters() if parameter.grad is not None]
    length = torch.stack([parameter.grad.norm() for parameter in moved]).norm()
    with torch.no_grad():
        for parameter in moved:
            parameter -= 0.01 / length * parameter.grad
            parameter.grad = None
    assert model(**family.batch()).loss < loss


def saved_and_loaded(adapter: Any, family: Family, method: str, answer: Tensor, folder: Path) -> None:
    """The file gives the same answers, here and in peft."""
    adapter.save(folder)
    fresh = family.model()
    before = snapshot(fresh)
    loaded = inarch.load(fresh, folder)
    same(method, logits(fresh, family.batch()), answer)
    assert loaded.method == adapter.method
    loaded.detach()
    assert_same(before, snapshot(fresh))
    if (method, family.name) in ALONE:
        return
    batch = batch_of(family, method)
    theirs = logits(loaded_by_peft(family.model(), folder), batch)
    ours = logits(adapter.model, {key: value for key, value in batch.items() if key != "task_ids"})
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def same(method: str, one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6 if method in MOVES else 0)


def test_the_lists_name_methods_that_exist() -> None:
    named = {method for method, _ in [*REFUSED, *CANNOT_COMPUTE, *ALONE]} | MOVES | NOT_MERGED.keys()
    assert named <= set(METHODS)
    assert {f"peft/{method}" for method in METHODS} == {name for name in inarch.methods() if name.startswith("peft/")}


@pytest.mark.parametrize("method", [method for method in METHODS if (method, "llama") not in REFUSED])
def test_plans_what_it_does(method: str, llama: Family) -> None:
    model = llama.model()
    before = snapshot(model)
    planned = inarch.plan(model, f"peft/{method}", **small(method)).report()
    assert_same(before, snapshot(model))
    assert inarch.attach(model, f"peft/{method}", **small(method)).report() == planned


@pytest.mark.parametrize("method", [method for method in METHODS if (method, "llama") not in REFUSED])
def test_merges_or_says_why_not(method: str, llama: Family) -> None:
    dtype, tolerance = (torch.float32, 1e-5) if method == "psoft" else (torch.float64, 1e-6)  # psoft takes no float64
    model = llama.model().to(dtype)
    before, base = snapshot(model), logits(model, llama.batch())
    adapter = inarch.attach(model, f"peft/{method}", **small(method))
    perturb(adapter, scale=0.02)
    answer = logits(model, llama.batch())
    if method in NOT_MERGED:
        with pytest.raises(MergeError, match=NOT_MERGED[method]):
            adapter.merge()
    else:
        adapter.merge()
        torch.testing.assert_close(logits(model, llama.batch()), answer, rtol=0, atol=tolerance)
        with adapter.disabled():
            assert torch.equal(logits(model, llama.batch()), base)
        adapter.unmerge()
    same(method, logits(model, llama.batch()), answer)
    adapter.detach()
    assert_same(before, snapshot(model))
