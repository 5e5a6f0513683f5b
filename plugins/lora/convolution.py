"""The low-rank path beside a convolution."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from inarch import Site

from .path import LowRankPath, uniform

_CONVOLVE = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}
"""The convolution by the number of its weight's axes."""


class ConvolutionLowRank(LowRankPath):
    """``y' = y + scale B * (A * dropout(x))``, with ``*`` a convolution.

    A is (rank, in_channels / groups, kernel) and moves over ``x`` as the base does, with its stride, padding and
    dilation; B is (out_channels, rank, 1), one point wide. It is the paper's equation 3 on the weight as a matrix of
    (out, in / groups kernel). All groups share A, and B takes what it makes of the group that its rows belong to.
    """

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        kernel: Any = site.module.kernel_size
        B = torch.zeros(site.out_features, rank, *(1 for _ in kernel), device=site.device)
        base: Any = site.module
        super().__init__(uniform(site, rank, site.in_features // base.groups, *kernel), B, scale, dropout)
        self.site = site

    def path(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        """``B * (A * x)``, in the dtype of ``x``."""
        base: Any = self.site.module  # convolves with another weight as with its own: same stride, padding and dilation
        of_groups = A.repeat(base.groups, *(1 for _ in A.shape[1:])) if base.groups > 1 else A
        low = base._conv_forward(x, of_groups.to(x.dtype), None)
        return _CONVOLVE[B.dim()](low, B.to(x.dtype), groups=base.groups)
