"""The low-rank paths inside fused experts."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from inarch import ExpertsAdapter, Site, WeightDelta

from .grouped_linear import grouped_linear
from .path import uniform


class ExpertLowRank(ExpertsAdapter):
    """``y' = y + scale B_e A_e dropout(x)`` at one projection, for a row that was routed to the expert e.

    The paths of all experts lie in two matrices as in peft's ``ParamWrapper``, and the adapter of the projection before
    this one is a child ``base_layer`` as there, so that tensors have peft's names: A is (experts rank, in_features),
    expert by expert; B is (out_features, rank experts), with the experts of one rank side by side.

    Args:
        site: The fused experts.
        projection: The name of the projection's parameter.
        rank: Inner size of each expert's product.
        scale: What the paths are multiplied by.
        dropout: Probability of dropping a feature of ``x`` on the paths, in training.
        base_layer: The adapter of the projection before this one.
    """

    def __init__(
        self, site: Site, projection: str, rank: int, scale: float, dropout: float, base_layer: Self | None = None
    ) -> None:
        super().__init__()
        assert site.experts is not None
        in_features, out_features = site.experts.projections[projection]
        self.lora_A = nn.Parameter(uniform(site, site.experts.count * rank, in_features))
        self.lora_B = nn.Parameter(torch.zeros(out_features, rank * site.experts.count, device=site.device))
        self.base_layer = base_layer
        self.projection = projection
        self.rank = rank
        self.scale = scale
        self.dropout = dropout
        self.transposed = site.experts.transposed

    def forward(self, projection: str, x: Tensor, y: Tensor, experts: Tensor, ends: Tensor) -> Tensor:
        """The output of the projection with the low-rank path of each row's expert added."""
        if projection != self.projection:
            return y if self.base_layer is None else self.base_layer.forward(projection, x, y, experts, ends)
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        low = grouped_linear(x.to(y.dtype), self.A, experts, ends)
        return torch.add(y, grouped_linear(low, self.B, experts, ends), alpha=self.scale)

    @property
    def A(self) -> Tensor:  # noqa: N802 - its name in the paper
        """A of every expert, shape (experts, rank, in_features)."""
        return self.lora_A.view(-1, self.rank, self.lora_A.shape[1])

    @property
    def B(self) -> Tensor:  # noqa: N802
        """B of every expert, shape (experts, out_features, rank)."""
        return self.lora_B.view(self.lora_B.shape[0], self.rank, -1).permute(2, 0, 1)

    def delta(self) -> WeightDelta:
        """``scale B A`` of every projection, in the layout of its parameter."""
        before = {} if self.base_layer is None else self.base_layer.delta().others
        change = self.scale * (self.A.mT @ self.B.mT if self.transposed else self.B @ self.A)
        return WeightDelta(others={**before, self.projection: change})
