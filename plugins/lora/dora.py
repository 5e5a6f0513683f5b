"""DoRA: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv:2402.09353)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from inarch import Factors, Site, WeightDelta

from .convolution import ConvolutionLowRank
from .low_rank import LowRank
from .path import LowRankPath, base_weight


class Magnitude(LowRankPath):
    """``y' = b + g V x`` with ``V = W + scale B A`` and ``g = m / ||V||``, added to the class of a low-rank path.

    Equation 5 of the paper; the norm is over the weights of one output, and a constant in the gradient (section 4.3).
    m is (out_features,); of a convolution (1, out_channels, 1), as in peft's files. It starts as the norm of W, so the
    adapted model starts as the base.
    """

    site: Site
    lora_magnitude_vector: nn.Parameter

    def measure(self, site: Site) -> None:
        """Start m at the norm of the base weight."""
        self.site = site
        if site.device.type == "meta":
            length = torch.empty(site.out_features, device=site.device)
        else:
            length = _length(base_weight(site))
        points = self.lora_B.shape[2:]
        self.lora_magnitude_vector = nn.Parameter(length.view(1, -1, *points) if points else length)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the low-rank path added, all but its bias stretched to the trained magnitude."""
        with torch.no_grad():
            length = _length(base_weight(self.site) + self._change())
        along = (-1, *self.lora_B.shape[2:])
        gain = (self.lora_magnitude_vector.flatten() / length).view(along)
        moved = super().forward(x, y)
        bias = getattr(self.site.module, "bias", None)
        stretched = moved if bias is None else moved - bias.view(along)
        return torch.addcmul(moved, (gain - 1).to(y.dtype), stretched)  # the base to the bit where the gain is 1

    def delta(self) -> WeightDelta:
        """``g V - W``."""
        weight = base_weight(self.site)
        moved = weight + self._change()
        gain = self.lora_magnitude_vector.flatten() / _length(moved)
        return WeightDelta(weight=gain.view(-1, *(1 for _ in weight.shape[1:])) * moved - weight)

    def _change(self) -> Tensor:
        change = super().delta().weight
        assert change is not None
        return change.to(self.site.dtype)


class MagnitudeLowRank(Magnitude, LowRank):
    """DoRA beside a linear map."""

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        super().__init__(site, rank, scale, dropout)
        self.measure(site)

    def factors(self) -> Factors | None:
        """B and A, with m."""
        factors = super().factors()
        return factors and replace(factors, magnitude=self.lora_magnitude_vector)


class MagnitudeConvolution(Magnitude, ConvolutionLowRank):
    """DoRA beside a convolution."""

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        super().__init__(site, rank, scale, dropout)
        self.measure(site)


def _length(weight: Tensor) -> Tensor:
    """The norm of the weights of each output, shape (out_features,)."""
    length: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return length
