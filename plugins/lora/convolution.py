"""The low-rank path beside a convolution."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from inarch import Site

from .path import LowRankPath, uniform

_CONVOLVE = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}
"""The convolution by the number of its weight's axes."""


class ConvolutionLowRank(LowRankPath):
    """``y' = y + scale B * (A * dropout(x))``, with ``*`` a convolution.

    A is (rank, in_channels, kernel) and moves over ``x`` as the base does, with its stride, padding and dilation; B is
    (out_channels, rank, 1), one point wide. It is the paper's equation 3 on the weight as a matrix of (out, in kernel).
    """

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        kernel: Any = site.module.kernel_size
        B = torch.zeros(site.out_features, rank, *(1 for _ in kernel), device=site.device)
        super().__init__(uniform(site, rank, site.in_features, *kernel), B, scale, dropout)
        self.site = site

    def path(self, x: Tensor, A: Tensor, B: Tensor) -> Tensor:
        """``B * (A * x)``, in the dtype of ``x``."""
        base: Any = self.site.module  # convolves with another weight as with its own: same stride, padding and dilation
        return _CONVOLVE[B.dim()](base._conv_forward(x, A.to(x.dtype), None), B.to(x.dtype))


def is_plain(module: nn.Module) -> bool:
    """Whether a convolution is one product with its weight: ungrouped, and computed as ``nn.Conv1d`` to ``3d`` do."""
    own: Any = type(module)
    return (
        isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and module.groups == 1
        and "weight" in module._parameters
        and own.forward in (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)
    )
