"""The network of a bottleneck adapter."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from inarch import OutputAdapter, Site

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class Shape:
    """What a network looks like; the settings of the method, and the sizes at one site.

    Attributes:
        features: What it reads.
        size: Its bottleneck.
        activation: A key of ``ACTIVATIONS``.
        layer_norm: Whether it normalises what it reads.
        scale: What its output is multiplied by.
    """

    features: int
    size: int
    activation: str
    layer_norm: bool
    scale: float


class Bottleneck(OutputAdapter):
    """``y' = y + s (U act(D y + b_D) + b_U)``, with D of shape (size, features) and U of shape (out_features, size).

    With a layer norm, D reads LN(y). D starts uniform within 1 / sqrt(features); U and both biases start at zero, so
    the adapted model is the base exactly (Houlsby et al. draw both maps with a standard deviation of 0.01, which is
    near it). D and U act along the axis that holds the features: after a convolution they are 1 x 1 convolutions.
    """

    def __init__(self, site: Site, shape: Shape) -> None:
        super().__init__()
        device, features, size = site.device, shape.features, shape.size
        bound = 1 / math.sqrt(features)
        self.down = nn.Parameter(torch.empty(size, features, device=device).uniform_(-bound, bound))
        self.down_bias = nn.Parameter(torch.zeros(size, device=device))
        self.up = nn.Parameter(torch.zeros(site.out_features, size, device=device))
        self.up_bias = nn.Parameter(torch.zeros(site.out_features, device=device))
        if shape.layer_norm:
            self.norm = nn.Parameter(torch.ones(features, device=device))
            self.norm_bias = nn.Parameter(torch.zeros(features, device=device))
        self.shape = shape
        self.features_first = site.feature_axis == 1

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with what the network makes of it added."""
        return self.added(y, y)

    def added(self, y: Tensor, h: Tensor) -> Tensor:
        """``y`` with what the network makes of ``h`` added; the parameters are cast to the dtype of ``h``."""
        if self.features_first:
            h = h.movedim(1, -1)
        if self.shape.layer_norm:
            h = functional.layer_norm(h, h.shape[-1:], self.norm.to(h.dtype), self.norm_bias.to(h.dtype))
        inner = functional.linear(h, self.down.to(h.dtype), self.down_bias.to(h.dtype))
        inner = ACTIVATIONS[self.shape.activation](inner)
        change = functional.linear(inner, self.up.to(inner.dtype), self.up_bias.to(inner.dtype))
        if self.features_first:
            change = change.movedim(-1, 1)
        return torch.add(y, change.to(y.dtype), alpha=self.shape.scale)
