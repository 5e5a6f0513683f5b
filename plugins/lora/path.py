"""The low-rank path beside a weight: what LoRA does to a linear map and to a convolution alike."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from inarch import OutputAdapter, Site, WeightDelta


class LowRankPath(OutputAdapter):
    """``y' = y + scale B A dropout(x)``.

    Args:
        A: Its start, shape (rank, in_features); of a convolution (rank, in_channels, kernel).
        B: Its start, shape (out_features, rank); of a convolution (out_channels, rank, 1).
        scale: What the path is multiplied by.
        dropout: Probability of dropping a feature of ``x`` on the path, in training.
    """

    scale: float
    dropout: float

    def __init__(self, A: Tensor, B: Tensor, scale: float, dropout: float) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(A)
        self.lora_B = nn.Parameter(B)
        vars(self).update(scale=scale, dropout=dropout)  # Module.__setattr__ takes 5 us for each

    @abstractmethod
    def path(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        """``B A x``, in the dtype of ``x``."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the low-rank path added."""
        return torch.add(y, self.path(self.dropped(x), self.lora_A, self.lora_B), alpha=self.scale)

    def dropped(self, x: Tensor) -> Tensor:
        """``dropout(x)``."""
        return functional.dropout(x, self.dropout) if self.dropout and self.training else x

    def delta(self) -> WeightDelta:
        """``scale B A`` in the shape of the weight."""
        return WeightDelta(weight=self.scale * product(self.lora_B, self.lora_A))


def uniform(site: Site, *shape: int) -> Tensor:
    """A as the paper's code starts it (Kaiming uniform, a = sqrt(5)): uniform within 1 / sqrt(fan in)."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape, device=site.device).uniform_(-bound, bound)


def product(B: Tensor, A: Tensor) -> Tensor:
    """``B A`` in the shape of the weight."""
    return (B.flatten(1) @ A.flatten(1)).view(B.shape[0], *A.shape[1:])


def base_weight(site: Site) -> Tensor:
    """The base weight of a linear map or a convolution in the site's dtype, detached."""
    weight: Any = site.module.weight if site.kind == "convolution" else site.weight()
    return weight.detach().to(site.dtype)  # type: ignore[no-any-return]
