"""Attention in a model: which modules compute it, and how big the keys and values are that reach it."""

from collections.abc import Sequence
from functools import cache

from torch import nn

from .part import Part
from .part_code import part_code
from .site import AttentionShape

_INTERFACES = frozenset({"ALL_ATTENTION_FUNCTIONS", "scaled_dot_product_attention", "multi_head_attention_forward"})
"""Names that only a module computing attention speaks of."""

_WEIGHING = frozenset({"softmax"})
"""Names that a module computing attention by itself speaks of, and others too."""


@cache
def computes_attention(module_type: type[nn.Module]) -> bool:
    """Whether the code of a class may compute attention."""
    return not part_code(module_type).names.isdisjoint(_INTERFACES | _WEIGHING)


def attention_shape(module: nn.Module, below: Sequence[Part]) -> AttentionShape | None:
    """The shape of the attention that ``module`` computes with the parts ``below`` it; ``None`` if it computes none."""
    linears = [part for part in below if part.kind == "linear"]
    keys = [part for part in linears if "attention.key" in part.roles]
    values = [part for part in linears if "attention.value" in part.roles]
    if not keys or not values:
        return None
    return _shape(module, keys, values)


def _shape(module: nn.Module, keys: list[Part], values: list[Part]) -> AttentionShape:
    alone = [part for part in keys if "attention.value" not in part.roles]
    alone_values = [part for part in values if "attention.key" not in part.roles]
    if alone and alone_values:
        return AttentionShape(alone[-1].features[1], alone_values[-1].features[1])
    fused = keys[-1]
    if "attention.query" in fused.roles:
        return AttentionShape(fused.features[1] // 3, fused.features[1] // 3)
    return AttentionShape(fused.features[1] // 2, fused.features[1] // 2)
