"""A weight in eight bits a value, in the bytes of bitsandbytes' serialised form."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from . import ops


@dataclass(frozen=True, eq=False)
class Int8:
    """``W = weight * SCB / 127``, with a scale for each output (arXiv:2208.07339, section 2.1).

    Attributes:
        weight: int8, shape (out_features, in_features).
        scales: float32, shape (out_features,): the largest magnitude of each row; ``SCB`` in a checkpoint.
        dtype: That the weight had, and has again.
    """

    weight: Tensor
    scales: Tensor
    dtype: torch.dtype

    @classmethod
    def quantise(cls, weight: Tensor) -> Self:
        """Each row in 127ths of its largest magnitude, rounded to the nearest."""
        return cls(*ops.quantise_int8(weight), weight.dtype)

    def dequantise(self, dtype: torch.dtype | None = None) -> Tensor:
        """The weight, in its own dtype or another."""
        return ops.dequantise_int8(self.weight, self.scales, dtype or self.dtype)
