"""NewMethod: a gated low-rank path beside a linear map."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

import inarch


class NewMethodAdapter(inarch.OutputAdapter):
    """``y' = y + g * (B A x)``; A is (rank, in_features), B is (out_features, rank), g is (out_features,).

    A starts uniform within 1 / sqrt(in_features), B at zero and g at one, so the adapted model starts as the base.
    """

    def __init__(self, site: inarch.Site, rank: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(site.in_features)
        self.A = nn.Parameter(torch.empty(rank, site.in_features, device=site.device).uniform_(-bound, bound))
        self.B = nn.Parameter(torch.zeros(site.out_features, rank, device=site.device))
        self.gate = nn.Parameter(torch.ones(site.out_features, device=site.device))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The base output with the gated path added, in the dtype of ``y``."""
        low = functional.linear(x, self.A.to(x.dtype))
        change = functional.linear(low.to(y.dtype), self.B.to(y.dtype))
        return y + self.gate.to(y.dtype) * change

    def delta(self) -> inarch.WeightDelta:
        """The same as a change of the weight: ``diag(g) B A``."""
        return inarch.WeightDelta(weight=self.gate[:, None] * (self.B @ self.A))


@dataclass(frozen=True, kw_only=True)
class NewMethod(inarch.Method):
    """h = W x + g * (B A x), with A, B and g trained and W frozen.

    Unpublished. Put the paper here: authors, year, arXiv number, equation.

    Attributes:
        rank: Inner size of the low-rank product; at most the smaller side of the weight.
    """

    name = "new-method"

    targets: tuple[str, ...] = ("@linear",)
    rank: int = 8

    def __post_init__(self) -> None:
        self.require(self.rank >= 1, "rank", "it must be at least 1")

    def build(self, site: inarch.Site) -> NewMethodAdapter:
        """The gated path of one linear map."""
        largest = min(site.in_features, site.out_features)
        self.require(self.rank <= largest, "rank", f"at {site.name} it must be at most {largest}")
        return NewMethodAdapter(site, self.rank)


@inarch.hookimpl
def register_methods(register: Callable[[type[inarch.Method]], None]) -> None:
    """Bring the method."""
    register(NewMethod)
