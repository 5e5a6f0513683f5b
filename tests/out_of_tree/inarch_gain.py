"""A gain for each output feature: a whole method, in one file."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import inarch


class Gain(inarch.OutputAdapter):
    """``y' = g * y``, g of shape (out_features,), starting at one."""

    def __init__(self, site: inarch.Site, start: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((site.out_features,), start, device=site.device))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Each feature times its gain."""
        return y * self.gain.to(y.dtype)


@dataclass(frozen=True, kw_only=True)
class GainMethod(inarch.Method):
    """h = g * (W x), with a gain g for each output feature."""

    name = "gain"

    start: float = 1.0

    def build(self, site: inarch.Site) -> Gain:
        """The gains of one linear map."""
        return Gain(site, self.start)


@inarch.hookimpl
def register_methods(register):
    """Bring the method."""
    register(GainMethod)
