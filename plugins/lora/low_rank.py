"""The low-rank path beside a linear map."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from inarch import Factors, Site

from .path import LowRankPath, uniform
from .rows import all_rows


class LowRank(LowRankPath):
    """``y' = y + scale B A dropout(x)``; A is (rank, in_features), B is (out_features, rank).

    A starts as the paper's code does and B at zero, so the adapted model starts as the base.
    """

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        B = torch.zeros(site.out_features, rank, device=site.device)
        super().__init__(uniform(site, rank, site.in_features), B, scale, dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the low-rank path added; the parameters are cast to the dtype of ``x``."""
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        # At one token this takes as long as the base product itself, so it is kept to the fewest steps: three
        # operations, parameters without Module.__getattr__, and casts only where they change something.
        A: Any = self._parameters["lora_A"]
        B: Any = self._parameters["lora_B"]
        if A.dtype != x.dtype:
            A = A.to(x.dtype)
        low = functional.linear(x, A)
        if low.dtype != y.dtype:
            low = low.to(y.dtype)
        if B.dtype != y.dtype:
            B = B.to(y.dtype)
        return torch.add(y, functional.linear(low, B), alpha=self.scale)

    def factors(self) -> Factors | None:
        """B and A."""
        dropout = self.dropout if self.training else 0.0
        return Factors(self.lora_B, self.lora_A, self.scale, dropout)

    def path(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        """``B A x``, in the dtype of ``x``."""
        return functional.linear(functional.linear(x, A.to(x.dtype)), B.to(x.dtype))

    @classmethod
    def for_rows(
        cls, adapters: Sequence[Self | None], weights: Sequence[float]
    ) -> Callable[[Tensor, Tensor], Tensor] | None:
        """All rows at once; what is derived from this path does more than this function."""
        return all_rows(adapters, weights) if cls is LowRank else None
