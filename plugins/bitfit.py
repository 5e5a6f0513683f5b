"""BitFit: bias-term fine-tuning (Ben Zaken, Ravfogel, Goldberg 2021, arXiv:2106.10199)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import inarch
from inarch import Method, OutputAdapter, Site, WeightDelta


class BiasShift(OutputAdapter):
    """``y' = y + b``, b of shape (out_features,), along the axis that holds the features; b starts at zero.

    Training the difference to the base bias is training the bias: the gradients are the same, and the base stays as it
    is, shared with every other adapter.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(site.out_features, device=site.device))
        self.feature_axis = site.feature_axis

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the shift added."""
        shift = self.bias.to(y.dtype)
        if self.feature_axis == 1:
            shift = shift.view(-1, *[1] * (y.dim() - 2))
        return y + shift

    def delta(self) -> WeightDelta:
        """The shift, as a change of the bias."""
        return WeightDelta(bias=self.bias)


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """h = W x + b, with b trained and W frozen, at every module of the backbone that has a bias.

    The bias of a module that the model reads without calling it, as state-space models do, is trained itself.

    Ben Zaken et al. 2021, arXiv:2106.10199, equations 1 to 5.
    """

    name = "bitfit"
    # the paper tunes over 1e-4 to 1e-3
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3)}
    accepts = ("bias",)
    trains_read = ("bias",)

    targets: tuple[str, ...] = ("@bias",)

    def build(self, site: Site) -> BiasShift:
        """The shift of one bias."""
        return BiasShift(site)


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring BitFit."""
    register(BitFit)
