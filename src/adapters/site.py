"""A site: one place in the base model where an adapter goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..quant import weight_format


@dataclass(frozen=True)
class AttentionShape:
    """What the keys and values of one attention look like, all heads together.

    Attributes:
        key_features: Key heads times the size of a key: what one position's keys hold.
        value_features: Value heads times the size of a value.
    """

    key_features: int
    value_features: int


@dataclass(frozen=True)
class ExpertsShape:
    """The projections of fused experts, each one parameter for all of them.

    Attributes:
        count: Number of experts.
        projections: (in_features, out_features) of each projection by the name of its parameter.
        transposed: Whether the parameters are (count, in_features, out_features) instead of (count, out, in).
    """

    count: int
    projections: Mapping[str, tuple[int, int]]
    transposed: bool


@dataclass(frozen=True)
class Site:
    """What a method may know of a place before it builds an adapter for it.

    Attributes:
        name: The module's dotted name in the model, such as ``model.layers.0.self_attn.q_proj``; empty for the model.
        module: The base module itself. A method may read it and must never write to it.
        kind: ``linear``, ``convolution``, ``norm``, ``embedding``, ``experts``, ``attention``, ``block`` or ``model``.
        roles: What the module is in the model: ``linear``, ``attention.query``, ``norm``, ``bias``, ...
        in_features: Size of the feature axis of the module's input.
        out_features: Size of the feature axis of the module's output.
        feature_axis: Which axis of the output holds the features: -1, or 1 for a convolution.
        dtype: What the adapter's parameters should be made in: float32 for a base in half precision, which keeps
            small optimizer steps from being rounded away, and the base's own dtype otherwise.
        device: Where the base weight lies, and the adapter's parameters go.
        attention: Sizes of keys and values, where the module is an attention.
        experts: The projections, where the module is fused experts.
    """

    name: str
    module: nn.Module = field(repr=False, compare=False)
    kind: str
    roles: frozenset[str]
    in_features: int
    out_features: int
    feature_axis: int = -1
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    attention: AttentionShape | None = None
    experts: ExpertsShape | None = None

    def weight(self) -> Tensor:
        """The base weight in high precision, shape (out_features, in_features), whatever format it is stored in."""
        return weight_format(self.module).dequantised(self.module)

    @property
    def is_plain_convolution(self) -> bool:
        """Whether it is a convolution computed as ``nn.Conv1d`` to ``nn.Conv3d`` do, with any weight in its place.

        A transposed one is none, nor one that standardises or pads in a ``forward`` of its own.
        """
        convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        own = type(self.module).forward in [kind.forward for kind in convolutions]
        return isinstance(self.module, convolutions) and "weight" in self.module._parameters and own
