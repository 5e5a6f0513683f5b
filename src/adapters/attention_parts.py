"""Attention in a model: which modules compute it, and how big the keys and values are that reach it."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from .once import once_a_class
from .part import Part
from .part_code import part_code
from .role_names import roles_of_name
from .site import AttentionShape

_WORDS = frozenset(
    {
        "ALL_ATTENTION_FUNCTIONS",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        "softmax",
        "Softmax",
        "XSoftmax",
    }
)
"""What the code of a module that computes attention speaks of; some that do not, such as routers, do so too."""

_OF_ITS_OWN_KIND = {
    "num_landmarks": "approximates attention through landmarks",
    "_sliding_chunks_query_key_matmul": "gives each query the keys of a window, in one band of scores",
    "bigbird_block_sparse_attention": "gives each block of queries a choice of blocks of keys",
    "XSoftmax": "has a softmax whose gradient is written by hand, for the keys of the sequence",
}
"""What some attentions speak of that are no softmax over the keys that others could stand before, and what they do."""

_KEY_VALUE_HEADS = ("num_key_value_groups", "num_key_value_heads", "num_kv_heads", "kv_heads")
"""What a module calls its number of key heads, or of queries to each, if there are fewer than heads of queries."""

_Q, _K, _V = "attention.query", "attention.key", "attention.value"


@once_a_class
def computes_attention(module_type: type[Any]) -> bool:
    """Whether the code of a class may compute attention."""
    return not part_code(module_type).names.isdisjoint(_WORDS)


def attention_shape(module: nn.Module, below: Sequence[Part]) -> AttentionShape | None:
    """The shape of the attention that ``module`` computes with the parts ``below`` it; ``None`` if it computes none."""
    own = _own_projections(module)
    keys = _sizes(below, _K, _V) or [own[role][1] for role in (_K,) if role in own]
    values = _sizes(below, _V, _K) or [own[role][1] for role in (_V,) if role in own]
    if keys and values:
        # Two maps may give half of the values each.
        return AttentionShape(keys[0], sum(values) if sum(values) == keys[0] else values[0])
    if keys and "ALL_ATTENTION_FUNCTIONS" in part_code(type(module)).names:
        return AttentionShape(keys[0], keys[0])  # its keys are its values
    fused = [part for part in below if {_K, _V} <= part.roles]
    if not fused:
        return None
    features = fused[-1].features[1]
    outputs = [part.features[0] for part in below if "attention.output" in part.roles and _is_linear(part)]
    attended = outputs[-1] if outputs else 0
    if _Q in fused[-1].roles:
        return _of_fused_queries(module, features, attended)
    queries = _product(module, "num_heads", "qk_head_dim") or max(_sizes(below, _Q, _K), default=0)
    if queries and attended and (len(fused) > 1 or queries + attended == features):
        return AttentionShape(queries, attended)  # as many heads of keys and values as of queries
    size = _arriving(module) or features // 2
    return AttentionShape(size, size)


def gives_features_first(below: Sequence[Part]) -> bool:
    """Whether the features of what an attention gives are axis 1: its projections are convolutions."""
    return any(part.kind == "convolution" and _is_linear(part) and part.roles & {_Q, _K, _V} for part in below)


def why_alone(module: nn.Module, below: Sequence[Part]) -> str:
    """Why no keys and values of an adapter can stand before those of an attention; empty for nearly all."""
    names, own = part_code(type(module)).names, type(module).__name__
    for word, does in _OF_ITS_OWN_KIND.items():
        if word in names:
            return f"{own} {does}, and no keys can stand before it."
    sizes = sorted(set(_sizes(below, _K, _V)))
    if len(sizes) > 1 and "ALL_ATTENTION_FUNCTIONS" not in names:
        return f"{own} attends twice, to keys of {' and '.join(map(str, sizes))} features."
    return ""


def _own_projections(module: nn.Module) -> dict[str, tuple[int, int]]:
    """The sizes by role of projections that a module owns itself, parameters of (features, heads, head size)."""
    return {
        role: (int(parameter.shape[0]), math.prod(parameter.shape[1:]))
        for key, parameter in module._parameters.items()
        if parameter is not None and parameter.dim() == 3
        for role in roles_of_name(key)
    }


def attention_sizes(module: nn.Module, below: Sequence[Part], shape: AttentionShape) -> tuple[int, int]:
    """The sizes of the input and the output of an attention: what its projections take, and what the last one gives."""
    own = _own_projections(module)
    if _K in own:
        return own[_K][0], own["attention.output"][0] if "attention.output" in own else shape.value_features
    projections = [part for part in below if part.roles & {_Q, _K, _V} and _is_linear(part)]
    outputs = [part.features[1] for part in below if "attention.output" in part.roles and _is_linear(part)]
    return projections[0].features[0], outputs[-1] if outputs else shape.value_features


def _of_fused_queries(module: nn.Module, features: int, attended: int) -> AttentionShape:
    """The shape, of one map for queries, keys and values; the output projection takes the values of all heads."""
    if not attended:
        return AttentionShape(features // 3, features // 3)
    size = (features - attended) // 2
    fewer = any(hasattr(module, name) for name in _KEY_VALUE_HEADS)
    return AttentionShape(size, size if fewer else attended)


def _arriving(module: nn.Module) -> int:
    """What the module declares to transformers' attention functions, which repeat keys for groups of queries."""
    groups = getattr(module, "num_key_value_groups", None)
    return _product(module, "num_heads", "head_dim") // groups if isinstance(groups, int) else 0


def _product(module: nn.Module, *names: str) -> int:
    """The product of numbers that the module declares; 0 where it declares none."""
    numbers = [getattr(module, name, None) for name in names]
    return math.prod(number if isinstance(number, int) else 0 for number in numbers)


def _sizes(parts: Sequence[Part], role: str, other: str) -> list[int]:
    """The outputs of the linear maps of one role alone."""
    return [part.features[1] for part in parts if _is_linear(part) and role in part.roles and other not in part.roles]


def _is_linear(part: Part) -> bool:
    return "linear" in part.roles and part.kind != "experts"
