"""Linear maps in four and eight bits, held against bitsandbytes' and against the floating-point map of the same weight."""

import copy
import pickle
from collections.abc import Callable

import bitsandbytes
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch.errors import FormatError
from inarch.quant import FourBitLinear, Int8Linear, QuantisedLinear, weight_format

SIZES = (128, 96)


def linear(*, bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(*SIZES, bias=bias, dtype=dtype)


KINDS: dict[str, Callable[[nn.Module], QuantisedLinear]] = {
    "nf4": FourBitLinear.of,
    "nf4 single": lambda map: FourBitLinear.of(map, double=False),
    "fp4": lambda map: FourBitLinear.of(map, "fp4"),
    "int8": Int8Linear.of,
}


@pytest.fixture(params=list(KINDS))
def make(request: pytest.FixtureRequest) -> Callable[[nn.Module], QuantisedLinear]:
    return KINDS[request.param]


Make = Callable[[nn.Module], QuantisedLinear]


def inputs() -> Tensor:
    return torch.randn(2, 3, SIZES[0], generator=torch.Generator().manual_seed(1)).requires_grad_()


def test_forward_and_backward_are_those_of_the_dequantised_weight(make: Make) -> None:
    quantised, x = make(linear()), inputs()
    weight = weight_format(quantised).dequantised(quantised)
    y = quantised(x)
    expected = functional.linear(x, weight, quantised.bias)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    upstream = torch.randn_like(y)
    (found,) = torch.autograd.grad(y, x, upstream)
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, upstream)[0], rtol=0, atol=1e-6)


def test_nothing_of_the_size_of_the_weight_is_kept_for_backward(make: Make) -> None:
    quantised, kept = make(linear(bias=False)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        quantised(inputs())
    assert max(kept, default=0) < SIZES[0] * SIZES[1]


def test_casting_the_model_leaves_codes_and_scales_alone(make: Make) -> None:
    quantised = make(linear())
    before = weight_format(quantised).dequantised(quantised)
    quantised.to(torch.bfloat16)
    assert torch.equal(weight_format(quantised).dequantised(quantised), before)
    assert quantised(inputs().bfloat16()).dtype == torch.bfloat16


def test_copies_and_pickles_stand_alone(make: Make) -> None:
    quantised, x = make(linear()), inputs()
    expected = quantised(x)
    twins = [copy.deepcopy(quantised), pickle.loads(pickle.dumps(quantised))]
    quantised.weight.data.zero_()
    for twin in twins:
        assert torch.equal(twin(x), expected)
        assert twin.weight.stored.tensors()[""].data_ptr() == twin.weight.data_ptr()


def test_state_dicts_go_from_one_to_another(make: Make) -> None:
    source, target = make(linear()), make(nn.Linear(*SIZES))
    target.load_state_dict(source.state_dict())
    assert torch.equal(target(inputs()), source(inputs()))
    incomplete = {name: value for name, value in source.state_dict().items() if not name.endswith(("absmax", "SCB"))}
    with pytest.raises(FormatError, match="its file is not whole"):
        target.load_state_dict(incomplete)


@pytest.mark.parametrize("double", [False, True])
def test_bitsandbytes_four_bit_layers_and_ours_hold_the_same_entries(double: bool) -> None:
    plain = linear()
    theirs = bitsandbytes.nn.Linear4bit(
        *SIZES, compute_dtype=torch.float32, quant_type="nf4", compress_statistics=double
    )
    theirs.load_state_dict(plain.state_dict())
    theirs = theirs.to("cpu").train()
    ours = FourBitLinear.of(plain, double=double)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    other = FourBitLinear.of(nn.Linear(*SIZES))
    other.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(other(inputs()), theirs(inputs()), rtol=0, atol=1e-5)


def test_bitsandbytes_eight_bit_layers_and_ours_hold_the_same_entries() -> None:
    plain = linear()
    theirs = bitsandbytes.nn.Linear8bitLt(*SIZES, has_fp16_weights=False)
    theirs.load_state_dict(plain.state_dict())
    theirs = theirs.to("cpu")
    ours = Int8Linear.of(plain)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    other = Int8Linear.of(nn.Linear(*SIZES))
    other.load_state_dict(theirs.state_dict())
    # bitsandbytes quantises the weight from half precision
    torch.testing.assert_close(other(inputs()), ours(inputs()), rtol=0, atol=2e-2)


def test_adapters_merge_into_it_and_out_of_it(make: Make) -> None:
    model = nn.Sequential(make(linear()))
    x = inputs().detach()
    base, parameter = model(x), model[0].weight
    adapter = inarch.attach(model, "lora", rank=4)
    torch.manual_seed(2)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    adapted = model(x).detach()
    weight = weight_format(model[0]).dequantised(model[0])
    delta = adapter.modules["0"].delta().weight.detach()
    adapter.merge()
    again = make(nn.Linear(*SIZES))
    expected = again.quantised(weight + delta).dequantise()
    assert torch.equal(weight_format(model[0]).dequantised(model[0]), expected)
    torch.testing.assert_close(model(x), functional.linear(x, expected, model[0].bias), rtol=0, atol=1e-5)
    adapter.unmerge()
    assert model[0].weight is parameter
    assert torch.equal(model(x), adapted)
    adapter.detach()
    assert torch.equal(model(x), base)
