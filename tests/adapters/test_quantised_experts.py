"""Models whose fused experts are in four and eight bits, in every way that transformers computes them."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import inarch
from inarch.adapters.quantisation import exchange_experts, quantisable_experts
from inarch.errors import FormatError, PlanError
from inarch.quant.quantised_experts import QuantisedExperts

from alone import alone, routed
from families import assert_same, perturb, snapshot
from mixtures import CELLS, IMPLEMENTATIONS, MAKERS, answer, mixture, tokens
from sampled import each_once, one_of

IDS = ["-".join(cell) for cell in CELLS]


def quantised(name: str, way: str = "eager", kind: str = "nf4") -> Any:
    model = mixture(name, way)
    inarch.quantize(model, kind)
    return model


def floating(model: nn.Module, name: str, way: str = "eager") -> Any:
    """A model that holds the dequantised tensors of another."""
    plain = mixture(name, way)
    for at, weight in model.named_parameters():
        if isinstance(weight, QuantisedExperts):
            plain.get_parameter(at).data = weight.dequantise()
    return plain


def adapted(model: Any, **settings: Any) -> inarch.Adapter:
    torch.manual_seed(2)
    adapter = inarch.attach(model, "lora", **{"rank": 4, **settings})
    perturb(adapter)
    return adapter


def gradients(model: Any, parameters: list[nn.Parameter]) -> list[Tensor]:
    loss = model(tokens(), labels=tokens()).loss
    return list(torch.autograd.grad(loss, parameters))


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8"])
@pytest.mark.parametrize("name", MAKERS)
def test_every_projection_of_every_expert_is_quantised_and_nothing_else_of_them(name: str, kind: str) -> None:
    model = mixture(name)
    stacked = {at: parameter.detach().clone() for at, parameter in model.named_parameters() if parameter.dim() == 3}
    kept = {at: value.clone() for at, value in model.state_dict().items() if at not in stacked}
    parts = {at for at in inarch.quantize(model, kind) if ".weight" in at or "_proj" in at.rpartition(".")[2]}
    assert parts == set(stacked)
    held = dict(model.named_parameters())
    assert all(isinstance(held[at], QuantisedExperts) for at in stacked)
    saved = model.state_dict()
    assert all(torch.equal(saved[at], value) for at, value in kept.items())  # routers and biases among them
    for at, value in stacked.items():
        error = (held[at].dequantise() - value).abs().mean() / value.abs().mean()
        assert error < {"nf4": 0.11, "fp4": 0.15, "int8": 0.01}[kind]
    bits = sum(v.numel() * v.element_size() for at, v in saved.items() if at not in kept and "quant_map" not in at)
    assert bits < (2 if kind == "int8" else 1.3) * sum(value.numel() for value in stacked.values())


@each_once(cell=CELLS, kind=["nf4", "int8"])
def test_the_function_is_that_of_the_dequantised_tensors(cell: tuple[str, str], kind: str) -> None:
    model = quantised(*cell, kind)
    plain = floating(model, *cell)
    torch.testing.assert_close(answer(model), answer(plain), rtol=0, atol=1e-6)
    assert (answer(plain) - answer(mixture(*cell))).abs().max() > 1e-4
    model.train(), plain.train()
    if cell[1] != "grouped_mm":  # which is in float32
        model.double(), plain.double()
        torch.testing.assert_close(answer(model), answer(plain), rtol=0, atol=1e-12)


@each_once(cell=CELLS, kind=["nf4", "int8"])
def test_gradients_are_those_of_the_dequantised_tensors(cell: tuple[str, str], kind: str) -> None:
    """Those of the embeddings, attentions and routers that lie before and beside the experts."""
    model = quantised(*cell, kind)
    plain = floating(model, *cell)
    names = [at for at, parameter in model.named_parameters() if parameter.requires_grad]
    names = [at for at in names if not any(word in at for word in ("e_score_correction_bias", "bias_k"))]
    own, expected = (gradients(each, [each.get_parameter(at) for at in names]) for each in (model, plain))
    assert any("router" in at or "gate" in at for at in names)
    for at, one, other in zip(names, own, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=lambda m, at=at: f"{at}: {m}")


@each_once(cell=CELLS, kind=["nf4", "int8"])
def test_lora_on_them_is_lora_on_the_dequantised_tensors(cell: tuple[str, str], kind: str) -> None:
    model = quantised(*cell, kind)
    plain = floating(model, *cell)
    ours, theirs = adapted(model), adapted(plain)
    assert [site.name for site in ours.sites] == [site.name for site in theirs.sites]
    assert ours.report().coverage == theirs.report().coverage
    assert any(site.experts for site in ours.sites)
    torch.testing.assert_close(answer(model), answer(plain), rtol=0, atol=2e-6)
    found, expected = (gradients(m, list(a.parameters())) for m, a in ((model, ours), (plain, theirs)))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("cell", CELLS, ids=IDS)
def test_attached_and_detached_leaves_no_trace(cell: tuple[str, str], kind: str) -> None:
    model = quantised(*cell, kind)
    before, logits = snapshot(model), answer(model)
    adapter = adapted(model)
    assert not torch.equal(answer(model), logits)
    with adapter.disabled():
        assert torch.equal(answer(model), logits)
    adapter.detach()
    assert_same(before, snapshot(model))
    assert torch.equal(answer(model), logits)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_under_checkpointing(implementation: str, reentrant: bool) -> None:
    model = quantised("mixtral", implementation)
    adapter = adapted(model)
    plain = gradients(model, list(adapter.parameters()))
    model.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the method has another name from v6 on
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    model.enable_input_require_grads()
    model(tokens(), labels=tokens()).loss.backward()
    for one, parameter in zip(plain, adapter.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, one, rtol=1e-4, atol=1e-7)


@each_once(name=MAKERS, kind=["nf4", "int8"])
def test_trains_saves_loads_merges_and_unmerges(name: str, kind: str, tmp_path: Path) -> None:
    model = quantised(name, kind=kind)
    base = answer(model)
    adapter = inarch.attach(model, "lora", rank=4)
    optimizer = torch.optim.Adam(adapter.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        loss = model(tokens(), labels=tokens()).loss
        losses.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] - 0.1
    trained = answer(model)
    adapter.save(tmp_path / "adapter")
    again = quantised(name, kind=kind)
    inarch.load(again, tmp_path / "adapter")
    assert torch.equal(answer(again), trained)
    sites = [site for site in adapter.sites if site.experts]
    expected = {
        (site.name, key): QuantisedExperts.of(
            site.module._parameters[key].dequantise() + change.detach(),  # type: ignore[union-attr]
            kind,  # type: ignore[arg-type]
        ).dequantise()
        for site in sites
        for key, change in adapter.modules[site.name].delta().others.items()  # type: ignore[union-attr]
    }
    adapter.merge()
    for (site, key), value in expected.items():
        weight = model.get_submodule(site)._parameters[key]
        assert isinstance(weight, QuantisedExperts)
        # of four bits the scales are quantised around the mean that they had before
        torch.testing.assert_close(weight.dequantise(), value, rtol=0, atol=0 if kind == "int8" else 0.02)
    merged = answer(model)
    assert not torch.equal(merged, base)
    adapter.unmerge()
    assert torch.equal(answer(model), trained)
    adapter.detach()
    assert torch.equal(answer(model), base)


@each_once(cell=CELLS, kind=["nf4", "int8"])
def test_copies_and_state_dicts_hold_all_of_it(cell: tuple[str, str], kind: str) -> None:
    model = quantised(*cell, kind)
    logits, entries = answer(model), model.state_dict()
    other = mixture(*cell)
    for parameter in other.parameters():
        parameter.data.mul_(0.5)
    inarch.quantize(other, kind)
    assert not torch.equal(answer(other), logits)
    other.load_state_dict(entries)
    twin = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    for each in (other, twin):
        assert torch.equal(answer(each), logits)
        assert each.state_dict().keys() == entries.keys()


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell[0] != "jetmoe"], ids="-".join)
def test_each_row_of_a_batch_has_its_own_adapter(cell: tuple[str, str]) -> None:
    model, rows = quantised(*cell), ["a", None, "b", "a", "all", None]
    for seed, name in enumerate(("a", "b", "all")):
        targets = {} if name == "all" else {"targets": ("@expert",)}
        torch.manual_seed(seed)
        perturb(inarch.attach(model, "lora", name=name, rank=2 + seed, **targets), seed=seed, scale=0.3)
    batch = {"input_ids": tokens(len(rows), 5)}
    expected = alone(model, batch, rows)
    assert (expected[0] - alone(model, {"input_ids": batch["input_ids"][:1]}, [None])[0]).abs().max() > 0.01
    torch.testing.assert_close(routed(model, batch, rows), expected, rtol=0, atol=2e-6)


class _Largest(TorchDispatchMode):
    """The largest tensor in floating point that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            is_new = isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given
            if is_new and tensor.is_floating_point():
                self.elements = max(self.elements, tensor.numel())
        return result


@each_once(cell=CELLS, kind=["nf4", "int8"], lora=[False, True])
def test_no_more_than_one_expert_is_ever_in_floating_point(cell: tuple[str, str], kind: str, lora: bool) -> None:
    """In neither pass; what one more expert takes is left for activations and the low-rank paths."""
    model = quantised(*cell, kind)
    weights = [parameter for parameter in model.parameters() if isinstance(parameter, QuantisedExperts)]
    model.requires_grad_(False)
    if lora:
        adapted(model, rank=1, targets=("@expert",))
    embedded = torch.randn(1, 4, 32).requires_grad_()
    with _Largest() as largest:
        model(inputs_embeds=embedded, labels=tokens(1, 4)).loss.backward()
    assert embedded.grad is not None
    one = max(weight.sizes[1:].numel() for weight in weights)
    assert one <= largest.elements < 2 * one
    with _Largest() as whole:
        weights[0].dequantise()
    assert whole.elements >= 4 * weights[0].sizes[1:].numel()


@pytest.mark.parametrize("kind", one_of(["nf4", "int8"]))
@pytest.mark.parametrize("name", one_of(["mixtral", "gpt_oss", "nemotron_h"]))
@pytest.mark.parametrize("implementation", one_of(["grouped_mm", "batched_mm"]))
def test_compiled_in_one_graph(name: str, implementation: str, kind: str) -> None:
    model = quantised(name, implementation, kind)
    experts: nn.Module = adapted(model, targets=("@expert",)).sites[0].module
    x = torch.randn(6, 32).requires_grad_()
    weights, index = torch.randn(6, 4).softmax(-1).topk(2)
    torch._dynamo.reset()
    compiled = torch.compile(experts, fullgraph=True, backend="aot_eager")
    found, expected = compiled(x, index, weights), experts(x, index, weights)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for one, other in zip(torch.autograd.grad(found.sum(), x), torch.autograd.grad(expected.sum(), x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_half_precision_is_multiplied_in_half_precision(implementation: str) -> None:
    model = mixture("mixtral", implementation).bfloat16()
    inarch.quantize(model, "nf4")
    adapted(model)
    seen = []
    activation = model.model.layers[0].mlp.experts.act_fn
    activation.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    assert answer(model).dtype == torch.bfloat16
    assert set(seen) == {torch.bfloat16}


def test_the_choice_can_be_made_on_the_meta_device_and_the_weights_given_later() -> None:
    with torch.device("meta"):
        empty = MAKERS["mixtral"]()
    model = mixture("mixtral")
    names = quantisable_experts(model)
    assert names == quantisable_experts(empty)
    expected = quantised("mixtral")
    for name in names:
        weight = exchange_experts(model, name, "nf4", iter(model.get_parameter(name)))
        assert torch.equal(weight, dict(expected.named_parameters())[name])
    assert torch.equal(answer(model), answer(expected))
    assert quantisable_experts(model) == ()


def test_what_is_not_ours_to_quantise_stays() -> None:
    model = mixture("mixtral")
    first, second = (layer.mlp.experts for layer in model.model.layers)
    first.down_proj = second.down_proj
    second.gate_up_proj = nn.Parameter(second.gate_up_proj[..., :31].detach().clone())  # no whole number of blocks
    assert quantisable_experts(model) == ("model.layers.0.mlp.experts.gate_up_proj",)
    with pytest.raises(PlanError, match="Nothing in this Sequential"):
        inarch.quantize(nn.Sequential(Small()), "nf4")


class Small(nn.Module):
    """Experts of less than a block."""

    def __init__(self) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(torch.randn(2, 6, 4))
        self.down_proj = nn.Parameter(torch.randn(2, 4, 6))


def test_they_cannot_be_trained_themselves() -> None:
    model = quantised("mixtral")
    with pytest.raises(FormatError, match=r"experts\.down_proj is stored as "):
        inarch.attach(model, "lora", train=("*.experts.down_proj",))
