"""LoRA on convolutions: closed form, merged weights, peft, and every kind of convolutional network."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BitConfig,
    BitForImageClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    RegNetConfig,
    RegNetForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
)

import inarch
from inarch.errors import ConfigError, TargetError

from families import perturb

CONVOLUTIONS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "1d": (nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "2d": (nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, bias=False), (2, 4, 8, 8)),
    "3d": (nn.Conv3d(4, 6, 3, padding="same"), (2, 4, 5, 5, 5)),
    "point": (nn.Conv2d(4, 6, 1), (2, 4, 3, 3)),
    "dilated": (nn.Conv2d(4, 6, 3, dilation=2, stride=2), (2, 4, 9, 9)),
    "reflected": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 6, 6)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1), (2, 4, 8, 8)),
    "depthwise": (nn.Conv1d(6, 6, 5, groups=6), (2, 6, 9)),
    "circular": (nn.Conv1d(4, 6, 5, padding=2, padding_mode="circular"), (2, 4, 9)),
}
IN_PEFT = ("1d", "2d", "3d", "point")  # peft's A has no groups, no dilation and no padding mode


def convolution(name: str) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    module, shape = CONVOLUTIONS[name]
    model = nn.Sequential(type(module)(**_arguments(module))).double()
    return model, torch.randn(shape, dtype=torch.float64)


def _arguments(module: Any) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "padding_mode", "groups")
    return {name: getattr(module, name) for name in names} | {"bias": module.bias is not None}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_function_is_that_of_the_changed_weight(name: str) -> None:
    """W + scale B A, with B A a product of matrices: computed without the adapter, by the base's own forward."""
    model, x = convolution(name)
    base: Any = model[0]
    before = model(x)
    adapter = inarch.attach(model, "lora", rank=2, alpha=3)
    assert torch.equal(model(x), before)
    perturb(adapter)
    path = adapter.modules["0"]
    A, B = (path.get_parameter(key).detach() for key in ("lora_A", "lora_B"))
    assert A.shape == (2, *base.weight.shape[1:])
    assert B.shape == (6, 2, *(1 for _ in base.kernel_size))
    change = 1.5 * torch.einsum("or,rk->ok", B.flatten(1), A.flatten(1)).view_as(base.weight)
    changed = {"weight": base.weight + change, "bias": base.bias}
    expected = torch.func.functional_call(
        convolution(name)[0][0], {k: v for k, v in changed.items() if v is not None}, (x,)
    )
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)
    adapter.merge()
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", IN_PEFT)
def test_peft_and_inarch_exchange_files(name: str, tmp_path: Path) -> None:
    model, x = convolution(name)
    adapter = inarch.attach(model, "lora", rank=2, targets=("0",))
    perturb(adapter)
    adapter.save(tmp_path / "ours")
    theirs = with_peft(convolution(name)[0], tmp_path / "ours")
    torch.testing.assert_close(model(x), theirs(x), rtol=0, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(tmp_path / "theirs")  # type: ignore[operator]
    again = convolution(name)[0]
    inarch.load(again, tmp_path / "theirs")
    torch.testing.assert_close(again(x), theirs(x), rtol=0, atol=1e-12)


def with_peft(model: nn.Module, folder: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: nn.Module = peft.PeftModel.from_pretrained(model, folder).eval()
        return loaded.double()


@pytest.mark.parametrize("name", [name for name in CONVOLUTIONS if name not in IN_PEFT])
def test_what_peft_computes_otherwise_is_no_file_of_peft(name: str, tmp_path: Path) -> None:
    model, x = convolution(name)
    adapter = inarch.attach(model, "lora", rank=2)
    perturb(adapter)
    adapter.save(tmp_path)
    assert list(json.loads((tmp_path / "adapter_config.json").read_text())) == ["inarch"]
    again = convolution(name)[0]
    inarch.load(again, tmp_path)
    assert torch.equal(again(x), model(x))


def test_gradients_are_those_of_the_changed_weight() -> None:
    model, x = convolution("dilated")
    adapter = inarch.attach(model, "lora", rank=2, alpha=3)
    perturb(adapter)
    base: Any = model[0]
    A, B = (adapter.modules["0"].get_parameter(key) for key in ("lora_A", "lora_B"))
    weight = base.weight + 1.5 * (B.flatten(1) @ A.flatten(1)).view_as(base.weight)
    expected = functional.conv2d(x, weight, base.bias, stride=2, dilation=2)
    upstream = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(model(x), (A, B), upstream), torch.autograd.grad(expected, (A, B), upstream), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


class Standardised(nn.Conv2d):
    """A convolution whose weight is changed before it is used."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight / self.weight.norm(), self.bias)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.ConvTranspose2d(8, 8, 2),
        Standardised(8, 8, 1),
        nn.Conv2d(8, 4, 1),
    )


@pytest.mark.parametrize("targets", [{}, {"targets": ("@convolution",)}])
def test_a_role_leaves_out_what_has_no_low_rank_path(targets: dict[str, Any]) -> None:
    adapter = inarch.attach(network(), "lora", rank=2, **targets)
    assert [site.name for site in adapter.sites] == ["0", "1", "2", "5"]
    assert set(adapter.modules) == {"0", "1", "2", "5"}


@pytest.mark.parametrize("name", ["3", "4"])
def test_a_name_of_such_a_convolution_is_refused(name: str) -> None:
    model = network()
    with pytest.raises(ConfigError, match=f"{name} is a "):
        inarch.attach(model, "lora", rank=2, targets=("0", name))
    assert not inarch.adapters(model)


def test_a_network_of_nothing_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="no low-rank path"):
        inarch.attach(nn.Sequential(nn.ConvTranspose2d(4, 4, 3)), "lora")


def test_the_rank_is_bounded_by_the_weight_as_a_matrix() -> None:
    """A weight of (8, 3, 3, 3) is a matrix of 8 x 27."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3))
    inarch.attach(model, "lora", rank=8).detach()
    with pytest.raises(ConfigError, match="8 x 27"):
        inarch.attach(model, "lora", rank=9)


def test_linear_maps_come_first_where_a_network_has_both() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 8))
    assert [site.name for site in inarch.plan(model, "lora").sites] == ["2"]
    both = inarch.attach(model, "lora", targets=("@linear", "@convolution"))
    assert [site.name for site in both.sites] == ["0", "2"]


SMALL: dict[str, Any] = {"num_channels": 3, "num_labels": 3}
NETWORKS = {
    "resnet": lambda: ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **SMALL)
    ),
    "regnet": lambda: RegNetForImageClassification(
        RegNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=4, **SMALL)
    ),
    "mobilenet": lambda: MobileNetV2ForImageClassification(
        MobileNetV2Config(depth_multiplier=0.25, min_depth=8, image_size=32, **SMALL)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_transformers_take_the_default_targets(name: str) -> None:
    torch.manual_seed(0)
    model: Any = NETWORKS[name]().eval()
    pixels = torch.randn(2, 3, 32, 32)
    before = model(pixels).logits
    adapter = inarch.attach(model, "lora", rank=2)
    grouped = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert bool(grouped) == (name != "resnet")
    assert {site.name for site in adapter.sites} >= set(grouped)
    assert len(adapter.modules) > 4
    assert torch.equal(model(pixels).logits, before)
    model(pixels, labels=torch.tensor([0, 1])).loss.backward()
    assert all(parameter.grad is not None for parameter in adapter.parameters())
    perturb(adapter, scale=0.02)
    unmerged = model.double()(pixels.double()).logits
    assert not torch.equal(unmerged.float(), before)
    adapter.merge()
    torch.testing.assert_close(model(pixels.double()).logits, unmerged, rtol=0, atol=1e-9)


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"initialisation": "pissa"}], ids=["plain", "dora", "pissa"])
def test_copies_and_graphs_of_a_network(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model: Any = NETWORKS["resnet"]().eval()
    pixels = torch.randn(2, 3, 32, 32)
    perturb(inarch.attach(model, "lora", rank=2, **settings), scale=0.02)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        logits = model(pixels).logits
        assert torch.equal(twin(pixels).logits, logits)
        for parameter in inarch.adapters(twin)["default"].parameters():
            parameter.zero_()
        assert torch.equal(model(pixels).logits, logits)
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(pixels).logits, logits, rtol=1e-5, atol=1e-6)


def test_weights_that_are_standardised_first_have_no_path() -> None:
    """BiT standardises the weights of all of its convolutions, so there is nothing that LoRA's formula is true of."""
    sizes = {"embedding_size": 32, "hidden_sizes": [128, 128], "depths": [1, 1]}
    model = BitForImageClassification(BitConfig(**sizes, **SMALL))
    with pytest.raises((ConfigError, TargetError)):
        inarch.attach(model, "lora", rank=2)
