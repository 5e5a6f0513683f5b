"""A site: one place in the base model where an adapter goes."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..quant import weight_format


@dataclass(frozen=True)
class Site:
    """What a method may know of a place before it builds an adapter for it.

    Attributes:
        name: The module's dotted name in the model, such as ``model.layers.0.self_attn.q_proj``.
        module: The base module itself. A method may read it and must never write to it.
        roles: What the module is in the model: ``linear``, ``attention.query``, ``norm``, ``bias``, ...
        in_features: Size of the feature axis of the module's input.
        out_features: Size of the feature axis of the module's output.
        feature_axis: Which axis of the output holds the features: -1, or 1 for a convolution.
        dtype: What the adapter's parameters should be made in: float32 for a base in half precision, which keeps
            small optimizer steps from being rounded away, and the base's own dtype otherwise.
        device: Where the base weight lies, and the adapter's parameters go.
    """

    name: str
    module: nn.Module = field(repr=False, compare=False)
    roles: frozenset[str]
    in_features: int
    out_features: int
    feature_axis: int = -1
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def weight(self) -> Tensor:
        """The base weight in high precision, shape (out_features, in_features), whatever format it is stored in."""
        return weight_format(self.module).dequantised(self.module)
