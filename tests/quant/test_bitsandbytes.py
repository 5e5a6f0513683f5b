"""bitsandbytes' layers as bases: what their weights are, before and after bitsandbytes packs them anew."""

import bitsandbytes
import bitsandbytes.functional
import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.quant import weight_format

FEATURES = 128


def four_bit(kind: str = "nf4", *, double: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layer = bitsandbytes.nn.Linear4bit(
        FEATURES, 2 * FEATURES, compute_dtype=torch.float32, compress_statistics=double, quant_type=kind
    )
    return layer.to("cpu")  # which quantises it


def eight_bit() -> nn.Module:
    torch.manual_seed(0)
    return bitsandbytes.nn.Linear8bitLt(FEATURES, 2 * FEATURES, has_fp16_weights=False).to("cpu")


LAYERS = {
    "nf4": four_bit,
    "nf4 single": lambda: four_bit(double=False),
    "fp4": lambda: four_bit("fp4"),
    "int8": eight_bit,
}


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, FEATURES, generator=torch.Generator().manual_seed(1))


def read_off(layer: nn.Module) -> Tensor:
    """The weight, read off what the layer makes of the unit vectors, in training mode, where nothing is packed anew."""
    layer.train()
    with torch.no_grad():
        return (layer(torch.eye(FEATURES)) - layer(torch.zeros(1, FEATURES))).T


@pytest.mark.parametrize("name", LAYERS)
def test_the_weight_is_what_the_layer_computes_with(name: str) -> None:
    layer = LAYERS[name]()
    stored = weight_format(layer)
    assert stored.features(layer) == (FEATURES, 2 * FEATURES)
    expected = read_off(LAYERS[name]())
    # int8: the layer computes in half precision
    tolerance = 1e-6 if "4" in name else 2e-3 * expected.abs().max().item()
    torch.testing.assert_close(stored.dequantised(layer).float(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_a_call_in_evaluation_mode_changes_nothing(name: str) -> None:
    layer = LAYERS[name]()
    before = weight_format(layer).dequantised(layer).float()
    layer.eval()
    with torch.no_grad():
        layer(inputs(2, 3))
    after = weight_format(layer).dequantised(layer).float()
    # packed anew, the scales are kept in bfloat16, of eight bits
    torch.testing.assert_close(after, before, rtol=2**-7, atol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_merged_it_computes_with_the_sum_and_unmerged_with_the_base(name: str) -> None:
    model = nn.Sequential(LAYERS[name]()).train()
    x = inputs(2, 3)
    base, parameter = model(x).detach(), model[0].weight
    adapter = inarch.attach(model, "lora", rank=4)
    torch.manual_seed(2)
    for tensor in adapter.parameters():
        nn.init.normal_(tensor, std=0.05)
    delta = adapter.modules["0"].delta().weight
    adapted = model(x).detach()
    weight = weight_format(model[0]).dequantised(model[0]).float()
    adapter.merge()
    merged = model(x).detach()
    found = weight_format(model[0]).dequantised(model[0]).float()
    step = torch.maximum(weight.abs().max(), (weight + delta).abs().max()) / (4 if "4" in name else 120)
    assert (found - (weight + delta)).abs().max() <= step
    assert (merged - adapted).norm() < 0.5 * (adapted - base).norm()
    adapter.unmerge()
    assert model[0].weight is parameter
    assert torch.equal(model(x), adapted)
    adapter.detach()
    assert torch.equal(model(x), base)


@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_pass_after_a_call_in_evaluation_mode(name: str, called_before: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(LAYERS[name](), nn.ReLU(), nn.Linear(2 * FEATURES, FEATURES), LAYERS[name]())
    x = inputs(2, 3)

    def call() -> Tensor:
        model.eval()
        with torch.no_grad():
            found: Tensor = model(x)
        model.train()
        return found

    if called_before:
        call()
    adapter = inarch.attach(model, "lora", rank=4)
    first = call()
    y = model(x)
    # what is not trained bitsandbytes may compute in bfloat16; weights read in a wrong order would be off by as much as y
    assert (y.detach() - first).norm() < 0.02 * first.norm()
    y.square().sum().backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    assert adapter.modules["0"].lora_B.grad.abs().max() > 0
    adapter.detach()
    flag, fresh = "support_avx512bf16_for_cpu", LAYERS[name]()
    assert [getattr(layer, flag, None) for layer in (model[0], model[3])] == [getattr(fresh, flag, None)] * 2
