"""The table: every method on a base of every format trains, and merges or says no."""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import bitsandbytes
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import inarch
from inarch.errors import FormatError, InarchError, MergeError
from inarch.quant import has_weight_format, weight_format

import packed
from sampled import each_once

WIDTH = 64
TOKENS = torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(0))
BATCH = {"input_ids": TOKENS, "labels": TOKENS}

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4},
    "loreft": {"rank": 4},
    "adalora": {"initial_rank": 4, "target_rank": 2, "steps": 20},
}
METHODS = [name for name in sorted(inarch.methods()) if not name.startswith("peft/")]

NO_BASE_WEIGHT = frozenset({"full", "head"})
"""What trains the weights of the base, or a new head, which a language model has not: refused on every format but
floating point, or on all."""


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with packed.installed():
        yield


def llama() -> nn.Module:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    # biases too, so that what changes outputs has to change them
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, attention_bias=True, mlp_bias=True, **sizes))


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=32))


def bitsandbytes_four(kind: str, *, double: bool) -> Callable[[nn.Linear], nn.Module]:
    def make(linear: nn.Linear) -> nn.Module:
        layer = bitsandbytes.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            compute_dtype=torch.float32,
            compress_statistics=double,
            quant_type=kind,
        )
        layer.load_state_dict(linear.state_dict())
        return layer.to("cpu")

    return make


def bitsandbytes_eight(linear: nn.Linear) -> nn.Module:
    layer = bitsandbytes.nn.Linear8bitLt(linear.in_features, linear.out_features, has_fp16_weights=False)
    layer.load_state_dict(linear.state_dict())
    return layer.to("cpu")


def ours(kind: str) -> Callable[[nn.Module], Any]:
    def make(model: nn.Module) -> nn.Module:
        inarch.quantize(model, kind)
        return model

    return make


def theirs(make: Callable[[nn.Linear], nn.Module]) -> Callable[[nn.Module], Any]:
    return lambda model: packed.exchanged(model, make)


FORMATS: dict[str, Callable[[nn.Module], Any]] = {
    "float32": lambda model: model,
    "bitsandbytes nf4": theirs(bitsandbytes_four("nf4", double=True)),
    "bitsandbytes nf4 single": theirs(bitsandbytes_four("nf4", double=False)),
    "bitsandbytes fp4": theirs(bitsandbytes_four("fp4", double=True)),
    "bitsandbytes int8": theirs(bitsandbytes_eight),
    "nf4": ours("nf4"),
    "fp4": ours("fp4"),
    "int8": ours("int8"),
    "gptq": theirs(packed.gptq),
    "awq": theirs(packed.awq),
    "hqq": theirs(packed.hqq),
    "torchao int8": theirs(packed.torchao),
}
EXACT = ("float32",)
CALIBRATED = ("gptq", "awq")


@cache
def _made(format_name: str) -> Any:
    torch.manual_seed(0)
    with packed.installed():
        return FORMATS[format_name](llama().eval()).eval()


def base(format_name: str) -> Any:
    torch.manual_seed(0)
    if format_name == "conv1d":
        return gpt2().eval()
    if format_name in ("gptq", "awq"):  # which take long to pack
        return copy.deepcopy(_made(format_name))
    return FORMATS[format_name](llama().eval()).eval()


def in_floating_point(model: Any) -> Any:
    """A plain model of the weights that a quantised one has."""
    plain = llama().eval()
    plain.load_state_dict(base("float32").state_dict())
    for name, module in model.named_modules():
        if "inarch" not in name.split(".") and has_weight_format(module):
            linear: Any = plain.get_submodule(name)
            linear.weight.data = weight_format(module).dequantised(module).float()
            if module.bias is not None:
                linear.bias.data = module.bias.detach().float()
    return plain


def state(model: nn.Module) -> dict[str, Any]:
    """What a module is and holds, by the identity of each tensor."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        if "inarch" in name.split("."):
            continue
        held = {**module._parameters, **module._buffers}
        found[name] = (type(module), {key: id(tensor) for key, tensor in held.items() if tensor is not None})
    return found


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=TOKENS).logits
    return found


def attached(model: nn.Module, method: str) -> inarch.Adapter:
    torch.manual_seed(1)
    adapter = inarch.attach(model, method, **SETTINGS.get(method, {}))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return adapter


@each_once(method=METHODS, format_name=[*FORMATS, "conv1d"])
def test_every_method_trains_on_every_format_and_merges_or_says_no(method: str, format_name: str) -> None:
    model = base(format_name)
    before, plain = state(model), logits(model)
    try:
        adapter = attached(model, method)
    except InarchError:
        assert method in NO_BASE_WEIGHT
        assert method == "head" or format_name not in ("float32", "conv1d")
        assert state(model) == before
        assert torch.equal(logits(model), plain)
        return
    adapted = logits(model)
    assert (adapted - plain).norm() > 1e-3 * plain.norm()
    model.train()
    model(**BATCH).loss.backward()
    model.eval()
    for name, parameter in adapter.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    shown = state(model)
    twin = base("conv1d") if format_name == "conv1d" else in_floating_point(model)
    _merge_and_back(adapter, format_name, adapted, plain, logits(attached(twin, method).model))
    assert state(model) == shown
    adapter.detach()
    assert state(model) == before
    assert torch.equal(logits(model), plain)


def _is_quantised(module: nn.Module) -> bool:
    return has_weight_format(module) and weight_format(module).quantised


def _merge_and_back(
    adapter: inarch.Adapter, format_name: str, adapted: torch.Tensor, plain: torch.Tensor, expected: torch.Tensor
) -> None:
    model = adapter.model
    quantised = format_name not in (*EXACT, "conv1d")
    # what there is to change in quantised weights: nothing for adapters of norms, and of embeddings
    inside = [site for site in adapter.sites if site.kind == "linear" and weight_format(site.module).quantised]
    try:
        report = adapter.merge()
    except (MergeError, FormatError) as refusal:
        assert not adapter.merged
        assert torch.equal(logits(model), adapted)
        if isinstance(refusal, MergeError):  # the method is no change of weights, whatever the format
            with pytest.raises(MergeError):
                adapter.merge(to=torch.float32)
            return
        assert format_name in CALIBRATED
    else:
        changed = {site.name for site in inside if adapter.modules[site.name].delta().weight is not None}  # type: ignore[union-attr]
        assert report.errors.keys() == (changed if quantised else set())
        assert format_name not in CALIBRATED or not changed
        found = (logits(model) - adapted).norm() / (adapted - plain).norm()
        # not more is off than each weight is, by a small factor for what layers make of it
        assert found <= 3 * report.worst + 1e-3
        adapter.unmerge()
        assert torch.equal(logits(model), adapted)
    report = adapter.merge(to=torch.float32)
    assert report.worst < 1e-4
    # what the format computed otherwise before, layers that the method leaves alone compute otherwise still; and a
    # bias that is changed alone is rounded once, as it is stored
    before = (adapted - expected).norm()
    rounding = 2**-11 if format_name in CALIBRATED and not report.errors else 1e-5
    assert (logits(model) - expected).norm() <= 1.5 * before + rounding * expected.norm()
    left = [name for name, module in model.named_modules() if name in report.errors or _is_quantised(module)]
    if report.errors and len(left) == len(report.errors):  # nothing quantised is left
        assert (logits(model) - expected).norm() <= 1e-5 * expected.norm()
    assert not any(_is_quantised(site.module) for site in inside if site.name in report.errors)
    adapter.unmerge()
    assert torch.equal(logits(model), adapted)


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_adapter_of_a_floating_point_base_is_loaded_onto_every_format(format_name: str, tmp_path: Any) -> None:
    trained = attached(base("float32"), "lora")
    trained.save(tmp_path / "saved")
    model = base(format_name)
    loaded = inarch.load(model, tmp_path / "saved")
    assert {site.name for site in loaded.sites} == {site.name for site in trained.sites}
    assert loaded.report().coverage == trained.report().coverage
    loaded.save(tmp_path / "again")
    other = base(format_name)
    inarch.load(other, tmp_path / "again")
    torch.testing.assert_close(logits(other), logits(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("format_name", [name for name in FORMATS if name not in EXACT])
def test_merged_for_good_to_floating_point_the_model_is_plain(format_name: str) -> None:
    model = base(format_name)
    adapter = attached(model, "lora")
    adapted = logits(model)
    adapter.merge(to=torch.float32, keep_base=False)
    loose = 0.05 if format_name == "bitsandbytes int8" else 1e-4
    torch.testing.assert_close(logits(model), adapted, rtol=0, atol=loose * adapted.abs().max().item())
    assert all(parameter.is_floating_point() for parameter in model.parameters())
    assert not [name for name, _ in model.named_buffers() if "layers" in name]
    kinds = {type(module).__name__ for module in model.modules() if has_weight_format(module)}
    assert kinds == {"FloatingLinear", "Linear"}
    again = attached(model, "lora")  # and takes adapters again
    assert {site.name for site in again.sites} == {site.name for site in adapter._plan.sites}
