"""(IA)3: infused adapter by inhibiting and amplifying inner activations (Liu et al. 2022, arXiv:2205.05638)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inarch
from inarch import (
    InputAdapter,
    Method,
    OutputAdapter,
    PeftFormat,
    Site,
    SiteAdapter,
    WeightDelta,
    matches_name,
)


class ScaledOutput(OutputAdapter):
    """``y' = l * y``, a factor for each feature; ``ia3_l`` is (out_features, 1), or (1, channels, 1, ...).

    It starts at one. The product is taken in the precision of ``l``, so that small changes of it are not rounded away.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        linear = site.kind == "linear"
        shape = (site.out_features, 1) if linear else (1, site.out_features, *[1] * (_weight(site).dim() - 2))
        self.ia3_l = nn.Parameter(torch.ones(shape, device=site.device))
        self.linear = linear

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output, scaled."""
        factor = self.ia3_l.flatten() if self.linear else self.ia3_l
        return (y * factor).to(y.dtype)

    def delta(self) -> WeightDelta | None:
        """``(l - 1) * W``, row by row, and ``(l - 1) * b``; ``None`` where W is not what the base multiplies by."""
        site, change = self.site, self.ia3_l.flatten() - 1
        bias = site.module.bias
        if self.linear:
            weight = change[:, None] * site.weight().to(change.dtype)
        elif not multiplies_by_its_weight(site.module):
            return None
        else:
            weight = _weight(site).detach().to(change.dtype) * _over_outputs(change, site.module)
        return WeightDelta(weight, change * bias.detach().to(change.dtype) if isinstance(bias, Tensor) else None)


class ScaledInput(InputAdapter):
    """``x' = l * x``, a factor for each input feature; ``ia3_l`` is (1, in_features), or (1, channels, 1, ...).

    It starts at one.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        points = [] if site.kind == "linear" else [1] * (_weight(site).dim() - 2)
        self.ia3_l = nn.Parameter(torch.ones(1, site.in_features, *points, device=site.device))

    def forward(self, x: Tensor) -> Tensor:
        """The input, scaled."""
        return (x * (self.ia3_l.flatten() if self.ia3_l.dim() == 2 else self.ia3_l)).to(x.dtype)

    def delta(self) -> WeightDelta | None:
        """``W * (l - 1)``, column by column; ``None`` where W is not what the base multiplies by."""
        change = self.ia3_l - 1
        if self.site.kind == "linear":
            return WeightDelta(change * self.site.weight().to(change.dtype))
        if not multiplies_by_its_weight(self.site.module):
            return None
        return WeightDelta(_weight(self.site).detach().to(change.dtype) * _over_inputs(change, self.site.module))


def _weight(site: Site) -> Tensor:
    weight = site.module.weight
    assert isinstance(weight, Tensor)
    return weight


def multiplies_by_its_weight(convolution: nn.Module) -> bool:
    """Whether a convolution moves its weight over its input as it is, rather than what it first makes of it.

    A ``forward`` of its own that speaks of no weight leaves that to the one it is derived from, as one that pads does.
    """
    forward: Any = type(convolution).forward
    is_torch = forward.__module__ == nn.Conv2d.forward.__module__
    return "weight" in convolution._parameters and (is_torch or "weight" not in forward.__code__.co_names)


def _over_outputs(change: Tensor, convolution: nn.Module) -> Tensor:
    """A vector over a convolution's output channels, in the shape that its weight is multiplied by.

    The weight is (out_channels, in_channels / groups, ...); of a transposed one (in_channels, out_channels / groups,
    ...), where each group of rows has its own channels.
    """
    return _over_rows(change, convolution) if not convolution.transposed else _over_columns(change, convolution)


def _over_inputs(change: Tensor, convolution: nn.Module) -> Tensor:
    """Likewise for its input channels."""
    change = change.flatten()
    return _over_columns(change, convolution) if not convolution.transposed else _over_rows(change, convolution)


def _over_rows(change: Tensor, convolution: nn.Module) -> Tensor:
    return change.view(-1, *[1] * (_axes(convolution) - 1))


def _over_columns(change: Tensor, convolution: nn.Module) -> Tensor:
    weight, groups = convolution.weight, convolution.groups
    assert isinstance(weight, Tensor)
    assert isinstance(groups, int)
    by_group = change.view(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return by_group.view(*by_group.shape, *[1] * (weight.dim() - 2))


def _axes(convolution: nn.Module) -> int:
    weight = convolution.weight
    assert isinstance(weight, Tensor)
    return weight.dim()


class IA3InPeft(PeftFormat):
    """(IA)3 as peft writes it."""

    peft_type = "IA3"
    tensors = {"ia3_l": "ia3_l"}  # noqa: RUF012

    def covers(self, method: Method, sites: Sequence[Site]) -> bool:
        """Whether peft knows every module: it scales linear maps and two kinds of convolutions."""
        return all(site.kind == "linear" or isinstance(site.module, nn.Conv2d | nn.Conv3d) for site in sites)

    def config(self, method: Method, sites: Sequence[Site]) -> dict[str, Any]:
        """The entries of peft's ``IA3Config``; modules are named in full, since peft tells the two kinds by name."""
        assert isinstance(method, IA3)
        return {
            "target_modules": [site.name for site in sites],
            "feedforward_modules": [site.name for site in sites if method.scales_input(site)],
            "fan_in_fan_out": False,
        }

    def method(self, config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> "IA3":
        """The settings: the modules by name."""
        given = config.get("feedforward_modules") or []
        feedforward = tuple(site for site in shapes if _names_for_peft(given, site))
        return IA3(targets=tuple(shapes), feedforward=feedforward)


def _names_for_peft(given: str | Sequence[str], site: str) -> bool:
    """Whether peft takes a module for one of ``feedforward_modules``: a pattern of whole names, or endings of them."""
    return bool(re.fullmatch(given, site)) if isinstance(given, str) else any(site.endswith(name) for name in given)


@dataclass(frozen=True, kw_only=True)
class IA3(Method):
    """k = l_k * (W_k x), v = l_v * (W_v x) and y = W_down (l_ff * h), with the vectors l trained and the model frozen.

    Liu et al. 2022, arXiv:2205.05638, section 3.3. A projection that gives queries, keys and values as one is scaled as
    a whole, queries too, as peft does: their layout differs from model to model. Scaling a query is scaling the key it
    meets, so this adds parameters and hardly any function. Fused experts are left out: their inner activations pass no
    module. A model without such parts has the outputs of all its linear maps and convolutions scaled.

    Attributes:
        feedforward: Those of the targets (roles, names or globs) whose input is scaled instead of their output.
    """

    name = "ia3"
    accepts = ("linear", "convolution")
    otherwise = ("@linear", "@convolution")
    peft = IA3InPeft()

    targets: tuple[str, ...] = ("@attention.key", "@attention.value", "@mlp.down")
    feedforward: tuple[str, ...] = ("@mlp.down",)

    def build(self, site: Site) -> SiteAdapter:
        """The vector of one site."""
        return ScaledInput(site) if self.scales_input(site) else ScaledOutput(site)

    def scales_input(self, site: Site) -> bool:
        """Whether the input of a site is scaled."""
        return any(
            target[1:] in site.roles if target.startswith("@") else matches_name(site.name, target)
            for target in self.feedforward
        )


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring (IA)3."""
    register(IA3)
