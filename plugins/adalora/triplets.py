"""The update of one weight as triplets: a singular value with its left and its right singular vector each."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from inarch import Factors, OutputAdapter, Site, WeightDelta

PARAMETERS = ("P", "Lambda", "Q")
AVERAGES = ("sensitivity", "uncertainty")


class Triplets(OutputAdapter):
    """``y' = y + scale P diag(Lambda) Q dropout(x)``; arXiv:2303.10512, section 3.1.

    P is (out_features, rank), Lambda (rank, 1), Q (rank, in_features). P and Q start normal with a standard deviation
    of 0.02 and Lambda at zero, as in the authors' code, so the adapted model starts as the base. While ranks are still
    to be chosen there are two averages beside each parameter, in buffers ``P_sensitivity``, ``P_uncertainty``, ...
    """

    P: nn.Parameter
    Lambda: nn.Parameter
    Q: nn.Parameter

    def __init__(self, site: Site, rank: int, scale: float, dropout: float, *, averages: bool) -> None:
        super().__init__()
        self.P = nn.Parameter(torch.empty(site.out_features, rank, device=site.device).normal_(0, 0.02))
        self.Lambda = nn.Parameter(torch.zeros(rank, 1, device=site.device))
        self.Q = nn.Parameter(torch.empty(rank, self.inputs(site), device=site.device).normal_(0, 0.02))
        self.scale = scale
        self.dropout = dropout
        for key in PARAMETERS if averages else ():
            for average in AVERAGES:
                self.register_buffer(f"{key}_{average}", torch.zeros_like(self._parameters[key]))  # type: ignore[arg-type]

    @staticmethod
    def inputs(site: Site) -> int:
        """The length of a right singular vector."""
        return site.in_features

    @property
    def rank(self) -> int:
        """Number of triplets."""
        return self.Lambda.shape[0]

    def average(self, name: str) -> list[Tensor]:
        """One kind of averages, of each parameter in the order of ``PARAMETERS``."""
        return [self.get_buffer(f"{key}_{name}") for key in PARAMETERS]

    def drop_averages(self) -> None:
        """Let go of the averages, after the ranks have been chosen."""
        for key in PARAMETERS:
            for average in AVERAGES:
                delattr(self, f"{key}_{average}")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the update's added; the parameters are cast to the dtypes of ``x`` and ``y``."""
        if not self.Lambda.shape[0]:
            return y
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        low = functional.linear(x, self.Q.to(x.dtype)).to(y.dtype) * self.Lambda.view(-1).to(y.dtype)
        return torch.add(y, functional.linear(low, self.P.to(y.dtype)), alpha=self.scale)

    def factors(self) -> Factors | None:
        """P and ``diag(Lambda) Q``."""
        dropout = self.dropout if self.training else 0.0
        return Factors(self.P, self.Lambda * self.Q, self.scale, dropout) if self.rank else None

    def product(self) -> Tensor:
        """``scale P diag(Lambda) Q``."""
        return self.scale * (self.P @ (self.Lambda * self.Q))

    def delta(self) -> WeightDelta:
        """``scale P diag(Lambda) Q``."""
        return WeightDelta(weight=self.product())


class ConvolutionTriplets(Triplets):
    """``y' = y + (scale P diag(Lambda) Q) * dropout(x)``, a convolution like the base's.

    Q is (rank, in_channels / groups x kernel sizes): a kernel is taken as the matrix whose rows are its output
    channels.
    """

    def __init__(self, site: Site, rank: int, scale: float, dropout: float, *, averages: bool) -> None:
        super().__init__(site, rank, scale, dropout, averages=averages)
        self.site = site

    @staticmethod
    def inputs(site: Site) -> int:
        """The elements of a kernel for one output channel."""
        weight = site.module._parameters["weight"]
        assert weight is not None
        return math.prod(weight.shape[1:])

    def kernel(self) -> Tensor:
        """The update in the shape of the base's kernel."""
        weight = self.site.module._parameters["weight"]
        assert weight is not None
        return self.product().view(weight.shape)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the update's added."""
        if not self.Lambda.shape[0]:
            return y
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        module: nn.Conv2d = self.site.module  # type: ignore[assignment]
        change: Tensor = module._conv_forward(x, self.kernel().to(x.dtype), None)
        return y + change.to(y.dtype)

    def delta(self) -> WeightDelta:
        """The update in the shape of the base's kernel."""
        return WeightDelta(weight=self.kernel())
