"""A method that is no change of the weights, so that it cannot be merged."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inarch import Method, OutputAdapter, Site


class Scaling(OutputAdapter):
    """A function of the output that is no change of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y * self.factor


@dataclass(frozen=True, kw_only=True)
class Scale(Method):
    """y' = c y."""

    name = "scale"

    def build(self, site: Site) -> OutputAdapter:
        return Scaling()
