"""The laws that hold for every method on every family of models."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

import inarch

from families import FAMILIES, Family, assert_same, logits, perturb, snapshot

METHODS = {
    "lora": {"rank": 4},
    "lora-dropout-patterns": {"rank": 4, "dropout": 0.1, "rank_pattern": {"*": 2}, "rank_stabilised": True},
    "bitfit": {},
    "full": {},
    "head": {},
}


def attach(model: nn.Module, method: str, **more: Any) -> inarch.Adapter:
    return inarch.attach(model, method.split("-")[0], **METHODS[method], **more)


def cells() -> list[Any]:
    # Llama and T5 have no biases; models without a new head have nothing for `head` to train.
    impossible = {("bitfit", "llama"), ("bitfit", "t5")} | {("head", name) for name in ("llama", "gpt2", "t5")}
    return [
        pytest.param(method, FAMILIES[name], id=f"{method}-{name}")
        for method in METHODS
        for name in FAMILIES
        if (method, name) not in impossible
    ]


@pytest.fixture(params=[cell.values for cell in cells()], ids=[cell.id for cell in cells()])
def cell(request: pytest.FixtureRequest) -> tuple[str, Family]:
    return request.param


def test_starts_from_the_base(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    before = logits(model, family.batch())
    attach(model, method)
    assert torch.equal(logits(model, family.batch()), before)


def test_trains_only_itself_and_all_of_itself(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    base = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = attach(model, method)
    perturb(adapter)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in adapter.parameters()}
    assert adapter.num_trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.train()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    model(**family.batch()).loss.backward()
    without = [name for name, parameter in adapter.named_parameters() if parameter.grad is None]
    # The loss does not depend on these: LoRA and full reach them, and the models do not use their result.
    unused = {"bert": "token_type", "t5": "", "gpt2": "", "llama": "", "vit": ""}[family.name]
    assert [name for name in without if not unused or unused not in name] == []
    optimizer.step()
    adapter.detach()
    for name, value in model.state_dict().items():
        assert torch.equal(value, base[name]), name


def test_training_lowers_the_loss(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    adapter = attach(model, method)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(**family.batch()).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_leaves_no_trace(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    next(model.parameters()).requires_grad_(False)  # a base of which a part was frozen before
    before, answer = snapshot(model), logits(model, family.batch())
    adapter = attach(model, method)
    perturb(adapter)
    assert not torch.equal(logits(model, family.batch()), answer)
    with adapter.disabled():
        assert torch.equal(logits(model, family.batch()), answer)
    assert not torch.equal(logits(model, family.batch()), answer)
    adapter.detach()
    assert torch.equal(logits(model, family.batch()), answer)
    assert_same(before, snapshot(model))
    assert inarch.adapters(model) == {}


def test_keeps_base_names_while_attached(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    names, modules = list(model.state_dict()), [(name, type(module)) for name, module in model.named_modules()]
    attach(model, method)
    assert [name for name in model.state_dict() if ".inarch." not in name] == names
    kept = [(name, type(module)) for name, module in model.named_modules() if "inarch" not in name.split(".")]
    assert kept == modules


def test_survives_a_file(cell: tuple[str, Family], tmp_path: Any) -> None:
    method, family = cell
    model = family.model()
    adapter = attach(model, method)
    perturb(adapter)
    answer = logits(model, family.batch())
    adapter.save(tmp_path / "adapter")
    fresh = family.model()
    before = snapshot(fresh)
    loaded = inarch.load(fresh, tmp_path / "adapter", name="again")
    assert torch.equal(logits(fresh, family.batch()), answer)
    assert loaded.tensors().keys() == adapter.tensors().keys()
    assert loaded.num_trainable == adapter.num_trainable
    loaded.detach()
    assert_same(before, snapshot(fresh))


def test_a_copy_has_its_own_adapter(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    adapter = attach(model, method)
    perturb(adapter)
    answer = logits(model, family.batch())
    twin = copy.deepcopy(model)
    handle = inarch.adapters(twin)["default"]
    assert handle.model is twin
    assert torch.equal(logits(twin, family.batch()), answer)
    handle.detach()
    assert torch.equal(logits(model, family.batch()), answer)
    assert not torch.equal(logits(twin, family.batch()), answer)


def test_a_pickled_model_keeps_its_adapter(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    perturb(attach(model, method))
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    assert torch.equal(logits(again, family.batch()), logits(model, family.batch()))


def test_state_dict_round_trip_as_trainers_do(cell: tuple[str, Family]) -> None:
    method, family = cell
    model = family.model()
    perturb(attach(model, method))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    fresh = family.model()
    attach(fresh, method)
    fresh.load_state_dict(state)
    assert torch.equal(logits(fresh, family.batch()), logits(model, family.batch()))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "bitfit"])
def test_merges_to_the_same_function(method: str, name: str, tmp_path: Any) -> None:
    if (method, name) in {("bitfit", "llama"), ("bitfit", "t5")}:
        pytest.skip("no biases")
    family = FAMILIES[name]
    model = family.model().double()
    batch = {key: v.double() if v.is_floating_point() else v for key, v in family.batch().items()}
    before, plain = snapshot(model), logits(model, batch)
    adapter = attach(model, method)
    perturb(adapter)
    answer = logits(model, batch)
    adapter.merge()
    assert adapter.merged
    torch.testing.assert_close(logits(model, batch), answer, rtol=0, atol=1e-10)
    with adapter.disabled():
        assert torch.equal(logits(model, batch), plain)
    adapter.unmerge()
    assert torch.equal(logits(model, batch), answer)
    adapter.merge()
    adapter.detach()
    assert torch.equal(logits(model, batch), plain)
    assert_same(before, snapshot(model))


def test_gradient_checkpointing_changes_no_gradient(family: Family) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = family.model().train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        adapter = attach(model, "lora")
        perturb(adapter)
        if checkpointing:
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        model(**family.batch()).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in adapter.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_autocast_runs_and_stays_close(family: Family) -> None:
    model = family.model()
    perturb(attach(model, "lora"))
    exact = logits(model, family.batch())
    with torch.autocast("cpu", torch.bfloat16):
        rough = logits(model, family.batch())
    assert (rough.float() - exact).norm() / exact.norm() < 0.05


def test_half_precision_base_trains_in_float32(family: Family) -> None:
    model = family.model().to(torch.bfloat16)
    adapter = inarch.attach(model, "lora")
    heads = set(adapter.trained)
    assert {p.dtype for name, p in adapter.named_parameters() if name not in heads} == {torch.float32}
    batch = {key: v.bfloat16() if v.is_floating_point() else v for key, v in family.batch().items()}
    perturb(adapter)
    result = model(**batch)
    assert result.logits.dtype == torch.bfloat16
    result.loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in adapter.parameters())


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_generates(name: str) -> None:
    model = FAMILIES[name].model()
    prompt = FAMILIES[name].batch()["input_ids"]
    plain = model.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0)
    adapter = attach(model, "lora")
    perturb(adapter, seed=3)
    cached = model.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0)
    uncached = model.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0, use_cache=False)
    assert torch.equal(cached, uncached)
    with adapter.disabled():
        assert torch.equal(model.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0), plain)


def inputs(family: Family) -> dict[str, Any]:
    """What a model is called with when no loss is wanted and no cache is to be returned."""
    batch: dict[str, Any] = {name: value for name, value in family.batch().items() if name != "labels"}
    if family.name == "t5":
        batch["decoder_input_ids"] = batch["input_ids"]
    return batch if family.name in ("bert", "vit") else batch | {"use_cache": False}


def test_exports(family: Family) -> None:
    model = family.model()
    perturb(attach(model, "lora"))
    program = torch.export.export(model, (), inputs(family), strict=False)
    exported = program.module()(**inputs(family)).logits
    torch.testing.assert_close(exported, logits(model, inputs(family)))


def test_compiles_in_one_graph(family: Family) -> None:
    torch.compiler.reset()
    model = family.model()
    adapter = attach(model, "lora")
    perturb(adapter)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(logits(compiled, inputs(family)), logits(model, inputs(family)))
    with adapter.disabled():
        torch.testing.assert_close(logits(compiled, inputs(family)), logits(model, inputs(family)))
