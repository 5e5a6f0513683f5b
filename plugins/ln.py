"""Norm tuning: only the norms' scales and shifts are trained (Zhao et al. 2023, arXiv:2312.11420)."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import inarch
from inarch import Method, OutputAdapter, Site, WeightDelta


class ScaleAndShift(OutputAdapter):
    """``y' = g * y + b``, g and b of shape (features,), g starting at one and b at zero; b where the norm has a bias.

    On ``y = gamma * n(x) + beta`` this is the norm with ``g * gamma`` and ``g * beta + b``: the functions that training
    gamma and beta reaches, except where gamma is zero. Unlike the norm's own parameters, g and b can be stacked,
    weighed, merged, and chosen for each row of a batch.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.scale = nn.Parameter(torch.ones(site.out_features, device=site.device))
        has_bias = site.module._parameters.get("bias") is not None
        self.shift = nn.Parameter(torch.zeros(site.out_features, device=site.device)) if has_bias else None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The norm's output, scaled and shifted in the precision of the parameters."""
        shape = (-1, *[1] * (y.dim() - 2)) if self.site.feature_axis == 1 else (-1,)
        changed = y * self.scale.view(shape)
        if self.shift is not None:
            changed = changed + self.shift.view(shape)
        return changed.to(y.dtype)

    def delta(self) -> WeightDelta | None:
        """``(g - 1) * (gamma + c)`` and ``(g - 1) * beta + b``; ``None`` for a norm whose c cannot be found."""
        offset = weight_offset(self.site)
        if offset is None:
            return None
        norm: Any = self.site.module
        change = self.scale - 1
        weight = change * (norm.weight.detach().to(change.dtype) + offset)
        if self.shift is None:
            return WeightDelta(weight)
        return WeightDelta(weight, change * norm.bias.detach().to(change.dtype) + self.shift)


@torch.no_grad()
def weight_offset(site: Site) -> float | None:
    """The c with which the norm computes ``(weight + c) * n(x) + bias``, or ``None``.

    Most norms have 0, and some (Gemma's) 1. Models write their own norms, so it is found by trying: for the right c,
    any weight gives ``weight + c`` times what a weight of ``1 - c`` gives.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(site.out_features, generator=generator)
    for axes in range(4 if site.feature_axis == 1 else 1):  # a norm over channels may insist on one to three axes more
        x = torch.randn(4, site.out_features, *[3] * axes, generator=generator)
        factor = weight.view(-1, *[1] * axes)
        try:
            result = _tried(site.module, weight, x)
            units = {c: _tried(site.module, torch.full_like(weight, 1 - c), x) for c in (0.0, 1.0)}
        except Exception:  # whatever a norm raises for an input it was not made for
            continue
        return next((c for c, unit in units.items() if torch.allclose(result, (factor + c) * unit, atol=1e-4)), None)
    return None


def _tried(norm: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """What ``norm`` would give with another weight and no bias, in float32.

    A shallow copy is run, without hooks: the norm itself, its statistics and its adapters are not touched.
    """
    device = next(norm.parameters()).device
    values = {"weight": weight.to(device), "bias": torch.zeros_like(weight, device=device)}
    double: Any = copy.copy(norm)
    double._parameters = {key: None if own is None else values[key] for key, own in norm._parameters.items()}
    double._buffers = {key: _in_float32(own) for key, own in norm._buffers.items()}
    double._modules = {}
    double.training = False
    result: Tensor = double.forward(x.to(device))
    return result.float().cpu()


def _in_float32(buffer: Tensor | None) -> Tensor | None:
    return buffer.float() if buffer is not None and buffer.is_floating_point() else buffer


@dataclass(frozen=True, kw_only=True)
class NormTuning(Method):
    """y' = g * norm(x) + b, with g and b trained and the model frozen, at every norm.

    Zhao et al. 2023, arXiv:2312.11420, section 3. Statistics that a batch norm keeps are updated in training, as ever:
    call ``eval()`` on it where they are to stay.
    """

    name = "ln"
    accepts = ("norm",)

    targets: tuple[str, ...] = ("@norm",)

    def build(self, site: Site) -> ScaleAndShift:
        """The scale and shift of one norm."""
        return ScaleAndShift(site)


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring norm tuning."""
    register(NormTuning)
