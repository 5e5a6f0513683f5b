"""What a matrix product takes as its weight, however that is stored."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Operand(Protocol):
    """A weight of shape (out_features, in_features) that gives itself in floating point.

    Attributes:
        shape: (out_features, in_features).
    """

    @property
    def shape(self) -> torch.Size:
        """(out_features, in_features)."""

    def dequantise(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight in ``dtype``, written to ``out`` where that is given and something has to be written."""

    def plus(self, B: Tensor, A: Tensor, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """``W + B A``, added in at least float32 and rounded once; likewise."""


@dataclass(frozen=True, eq=False)
class Floating:
    """A weight that is stored in floating point: it is its own operand.

    Attributes:
        weight: Shape (out_features, in_features).
    """

    weight: Tensor

    @property
    def shape(self) -> torch.Size:
        """(out_features, in_features)."""
        return self.weight.shape

    def dequantise(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight, which is not copied."""
        return self.weight if dtype is None else self.weight.to(dtype)

    def plus(self, B: Tensor, A: Tensor, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """``W + B A``."""
        return plus(self.weight, B, A, dtype, out)


def plus(weight: Tensor, B: Tensor, A: Tensor, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
    """``W + B A``, added in at least float32 and rounded once to ``dtype``, or to the weight's own."""
    precise = torch.promote_types(weight.dtype, torch.float32)
    total = torch.addmm(weight.to(precise), B.to(precise), A.to(precise))
    return total.to(dtype or weight.dtype) if out is None else out.copy_(total)
