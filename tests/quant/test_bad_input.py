"""Files and layers that are wrong: each is refused by name, before anything is changed."""

import copy
import json
from collections.abc import Callable
from typing import Any

import bitsandbytes
import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.errors import FormatError
from inarch.quant import FourBitLinear, Int8Linear, QuantisedLinear, weight_format

SIZES = (128, 96)
STATE = "weight.quant_state.bitsandbytes__nf4"
MAKE: dict[str, Callable[[nn.Module], QuantisedLinear]] = {
    "nf4": FourBitLinear.of,
    "nf4 single": lambda map: FourBitLinear.of(map, double=False),
    "int8": Int8Linear.of,
}
State = dict[str, Tensor]


def layer(kind: str, sizes: tuple[int, int] = SIZES, seed: int = 0) -> QuantisedLinear:
    torch.manual_seed(seed)
    return MAKE[kind](nn.Linear(*sizes, bias=False))


def refused(target: QuantisedLinear, state: State, message: str) -> None:
    before, weight = copy.deepcopy(target.state_dict()), target.weight
    shape = target.weight.stored.shape
    with pytest.raises(FormatError, match=message):
        target.load_state_dict(state)
    after = target.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert target.weight is weight
    assert target.weight.stored.shape == shape


ENTRIES = [(kind, name) for kind in MAKE for name, value in layer(kind).state_dict().items() if value.numel() > 1]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_an_entry_that_is_missing_or_truncated_or_of_another_type(kind: str, name: str) -> None:
    whole = layer(kind, seed=1).state_dict()
    refused(layer(kind), {key: value for key, value in whole.items() if key != name}, "weight (lacks|has no)")
    half = whole[name].flatten()[: whole[name].numel() // 2]
    refused(layer(kind), {**whole, name: half}, "weight")
    if name != STATE:  # whose bytes are read as such
        refused(layer(kind), {**whole, name: whole[name].to(torch.int64)}, "weight.*int64")


@pytest.mark.parametrize("sizes", [(64, 96), (96, 128), (128, 64)])
@pytest.mark.parametrize("kind", MAKE)
def test_the_state_of_a_layer_of_another_size(kind: str, sizes: tuple[int, int]) -> None:
    refused(layer(kind), dict(layer(kind, sizes).state_dict()), "is of another model")


@pytest.mark.parametrize("kind", MAKE)
def test_a_state_in_floating_point(kind: str) -> None:
    refused(layer(kind), dict(nn.Linear(*SIZES, bias=False).state_dict()), "weight (lacks|has no)")


WRONG = [
    ("blocksize", 0),
    ("blocksize", -64),
    ("blocksize", "64"),
    ("blocksize", None),
    ("dtype", "int32"),
    ("dtype", "float99"),
    ("dtype", 7),
    ("shape", [-96, -128]),
    ("shape", []),
    ("shape", "96"),
    ("nested_blocksize", 0),
    ("nested_offset", "0.1"),
    ("quant_type", "fp4"),
]


@pytest.mark.parametrize(("entry", "value"), WRONG)
def test_a_quantisation_state_that_cannot_be(entry: str, value: Any) -> None:
    whole = layer("nf4", seed=1).state_dict()
    facts = json.loads(bytes(whole[STATE].tolist())) | {entry: value}
    state = torch.tensor(list(json.dumps(facts).encode()), dtype=torch.uint8)
    refused(layer("nf4"), {**whole, STATE: state}, f"The quantisation state of weight cannot be read: its {entry} is")


def test_a_quantisation_state_that_is_none() -> None:
    whole = layer("nf4", seed=1).state_dict()
    for text in (b"[1, 2]", b"\xff\xfe", b""):
        refused(layer("nf4"), {**whole, STATE: torch.tensor(list(text), dtype=torch.uint8)}, "cannot be read")


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("dtype", [torch.int32, torch.float8_e4m3fn, torch.complex64])
def test_a_weight_of_a_type_that_cannot_be_quantised(dtype: torch.dtype, kind: str) -> None:
    linear = nn.Linear(*SIZES)
    linear.weight = nn.Parameter(torch.ones(SIZES[::-1]).to(dtype), requires_grad=False)
    with pytest.raises(FormatError, match=str(dtype)):
        MAKE[kind](linear)


def bitsandbytes_four(compute: torch.dtype = torch.float32) -> Any:
    return bitsandbytes.nn.Linear4bit(*SIZES, compute_dtype=compute, quant_type="nf4").to("cpu")


def bitsandbytes_eight() -> Any:
    return bitsandbytes.nn.Linear8bitLt(*SIZES, has_fp16_weights=False).to("cpu")


def truncated_four(module: Any) -> None:
    module.weight.quant_state.absmax = module.weight.quant_state.absmax[:3]


def emptied_four(module: Any) -> None:
    module.weight.quant_state = module.quant_state = None


def truncated_eight(module: Any) -> None:
    module.weight.SCB = module.weight.SCB[:3]


def emptied_eight(module: Any) -> None:
    module.weight.SCB = module.state.SCB = None


BROKEN = {
    "needs 192 values of absmax": (bitsandbytes_four, truncated_four),
    "is not quantised yet": (bitsandbytes_four, emptied_four),
    "has 3 scales": (bitsandbytes_eight, truncated_eight),
    "lacks SCB": (bitsandbytes_eight, emptied_eight),
}


@pytest.mark.parametrize("message", BROKEN)
def test_layers_of_bitsandbytes_with_a_wrong_state(message: str) -> None:
    make, spoil = BROKEN[message]
    module = make()
    spoil(module)
    model = nn.Sequential(nn.Linear(SIZES[0], SIZES[0]), module)
    with pytest.raises(FormatError, match=message):
        weight_format(module).dequantised(module)
    adapter = inarch.attach(model, "lora", rank=4)
    parameters = [id(parameter) for parameter in model.parameters()]
    for to in (None, torch.float32):
        with pytest.raises(FormatError, match=message):
            adapter.merge(to=to)
        assert not adapter.merged
        assert [id(parameter) for parameter in model.parameters()] == parameters
        assert type(module) is type(make())


@pytest.mark.parametrize("dtype", [torch.int32, torch.float8_e4m3fn])
def test_layers_of_bitsandbytes_with_a_compute_type_that_cannot_be(dtype: torch.dtype) -> None:
    model = nn.Sequential(bitsandbytes_four(), bitsandbytes_four(dtype))
    flags = [module.support_avx512bf16_for_cpu for module in model]
    with pytest.raises(FormatError, match=f"computes in {dtype}"):
        inarch.attach(model, "lora", rank=4)
    assert inarch.adapters(model) == {}
    assert [module.support_avx512bf16_for_cpu for module in model] == flags
    assert not any(module._forward_hooks or module._modules for module in model)
