"""PiSSA: principal singular values and vectors adaptation (Meng et al. 2024, arXiv:2404.02948)."""

import torch
from torch import Tensor, nn

from inarch import Factors, Site, WeightDelta

from .convolution import ConvolutionLowRank
from .low_rank import LowRank
from .path import LowRankPath, base_weight, product


class Principal(LowRankPath):
    """``y' = y + scale (B A - B0 A0) x``, added to the class of a low-rank path.

    Equations 2 to 4 of the paper: A and B start as A0 and B0, the largest singular values of the weight W with their
    vectors, so that ``scale B0 A0`` is its best approximation of this rank, and what is left of W is frozen. W itself
    stays as it is; A0 and B0 are kept beside A and B, and saved with them, so that no file depends on an SVD.
    """

    start_a: Tensor
    start_b: Tensor

    def decompose(self, site: Site) -> None:
        """Start at the largest singular values of the base weight."""
        if site.device.type != "meta":
            A, B = _principal(base_weight(site), self.lora_A.shape[0], self.scale)
            self.lora_A = nn.Parameter(A.view(self.lora_A.shape))
            self.lora_B = nn.Parameter(B.view(self.lora_B.shape))
        self.register_buffer("start_a", self.lora_A.detach().clone())
        self.register_buffer("start_b", self.lora_B.detach().clone())

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the change of the low-rank path added."""
        change = self.path(self.dropped(x), self.lora_A, self.lora_B) - self.path(x, self.start_a, self.start_b)
        return torch.add(y, change, alpha=self.scale)

    def delta(self) -> WeightDelta:
        """``scale (B A - B0 A0)``."""
        change = product(self.lora_B, self.lora_A) - product(self.start_b, self.start_a)
        return WeightDelta(weight=self.scale * change)


class PrincipalLowRank(Principal, LowRank):
    """PiSSA beside a linear map."""

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        super().__init__(site, rank, scale, dropout)
        self.decompose(site)

    def factors(self) -> Factors | None:
        """B and A beside -B0 and A0, unless x is dropped before A alone."""
        if self.dropout and self.training:
            return None
        B = torch.cat([self.lora_B, -self.start_b], dim=1)
        return Factors(B, torch.cat([self.lora_A, self.start_a]), self.scale)


class PrincipalConvolution(Principal, ConvolutionLowRank):
    """PiSSA beside a convolution."""

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        super().__init__(site, rank, scale, dropout)
        self.decompose(site)


def _principal(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """The largest singular values of ``weight`` over ``scale``, split evenly, with their vectors: A and B.

    An SVD leaves the signs of the vectors open; the largest entry of each row of A is made positive.
    """
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    right = right[:rank]
    sign = right.gather(1, right.abs().argmax(dim=1, keepdim=True)).sign()
    root = (values[:rank] / scale).sqrt()
    return sign * root[:, None] * right, left[:, :rank] * root * sign.T
