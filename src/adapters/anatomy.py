"""Anatomy: which part of a model is what, found from its structure and one table of names.

A *part* is a place that is adapted or trained as one: a module that owns weights (a linear map, a norm, an embedding, a
convolution, fused experts) or one that holds such modules (an attention, a block, the model). Its *kind* follows from
what it is; its *roles* say what it does in the model, and are what targets name:

    @linear                                     every linear map of the backbone, fused experts among them, and
                                                convolutions along a sequence, one point wide, of attention or mlp
    @attention.query .key .value .output        the projections of attention; a fused projection has several roles
    @mlp.up .gate .down                         the maps of the feed-forward block
    @sublayer.input .output                     the first and the last maps of sublayers of every kind
    @expert                                     fused experts, and linear maps of single experts
    @norm  @embedding  @convolution             by kind
    @bias                                       every part of the backbone that has a bias
    @head                                       what lies outside the backbone
    @attention  @block  @model                  what computes attention; the repeated blocks; the model itself
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from torch import nn

from ..quant import has_weight_format
from .attention_parts import attention_shape, attention_sizes, computes_attention, gives_features_first, why_alone
from .block_parts import block_names
from .declared_roles import roles_by_name
from .expert_parts import experts_roles, experts_shape
from .head_parts import new_head_within, transformers_view
from .linear_parts import is_linear_by_another_name
from .module_tree import ModuleTree, ancestors, input_embedding
from .once import once_a_class
from .part import Part, base_modules, base_parameters, turns_axes
from .role_names import is_in_experts
from .slot import Slot
from .unheard import unheard_modules, unused_copies, why_not, without_gradient

__all__ = ["Anatomy", "Part", "anatomy", "base_modules", "base_parameters"]

_MAPS = ("linear", "convolution", "experts")
_NOTHING: frozenset[str] = frozenset()
_HEAD = frozenset({"head"})


@dataclass(frozen=True)
class Anatomy:
    """The parts of one model.

    Attributes:
        parts: By name, in the model's order.
        head: Names of the parameters of a new task head: those outside the backbone of a model without a language
            model's output embedding. They start untrained, so they are trained and saved with every adapter.
    """

    parts: Mapping[str, Part]
    head: tuple[str, ...]

    def roles(self) -> list[str]:
        """Every role that some part has, sorted."""
        return sorted({role for part in self.parts.values() for role in part.roles})

    def unheard(self) -> tuple[str, ...]:
        """Names of the linear maps and convolutions of the backbone that no adapter can be put at."""
        kinds = ("linear", "convolution")
        return tuple(name for name, part in self.parts.items() if part.unheard and not part.roles.isdisjoint(kinds))


def anatomy(model: nn.Module) -> Anatomy:
    """The anatomy of ``model``; adapters that are attached to it are not part of it."""
    tree = ModuleTree(model)
    backbone, output_embedding = transformers_view(model)
    parts = _owners(tree, backbone, output_embedding, roles_by_name(model))
    attentions = _attentions(tree, parts, backbone)
    norms = [name for name, part in parts.items() if part.kind == "norm"]
    blocks = [name for name in block_names(tree, list(attentions), norms) if name.startswith(backbone)]
    head: tuple[str, ...] = ()
    if output_embedding is None:
        head = tuple(name for name, _, _ in base_parameters(model) if not name.startswith(backbone))
        head = head or _set_apart(tree, parts, new_head_within(tree, parts, blocks))
    parts.update(attentions)
    _add_blocks(tree, parts, blocks)
    if "" not in parts:
        size = _embedding_size(model, parts)
        parts[""] = Part("", model, "model", frozenset({"model"}), (size, size))
    _mark_unheard(tree, parts)
    return Anatomy({name: parts[name] for name in tree.modules if name in parts}, head)


def _mark_unheard(tree: ModuleTree, parts: dict[str, Part]) -> None:
    """Give the parts where adapters would not run, or break the model, the reason why."""
    read, frozen = unheard_modules(tree), without_gradient(tree)
    reasons = read | frozen
    reasons |= unused_copies(tree, [name for name, part in parts.items() if part.kind == "embedding"])
    for name, part in parts.items():
        reason = reasons.get(name) or why_not(part)
        if reason:
            parts[name] = replace(part, unheard=reason, is_read=name in read and name not in frozen)


def _owners(
    tree: ModuleTree, backbone: str, output_embedding: nn.Module | None, roles_of: Callable[[str], frozenset[str]]
) -> dict[str, Part]:
    """The parts that own weights."""
    parts: dict[str, Part] = {}
    for name, module in tree.modules.items():
        parameters = module._parameters
        if all(parameter is None for parameter in parameters.values()) and not module._buffers:
            continue
        kind = _kind(module)
        experts = experts_shape(module) if kind is None else None
        if experts:
            kind = "experts"
        if kind is None:
            continue
        if not name.startswith(backbone) or module is output_embedding:
            roles = _HEAD
        elif experts:
            roles = experts_roles(name, experts, roles_of)
        else:
            by_name = roles_of(name) if kind in _MAPS else _NOTHING
            if by_name and kind == "convolution" and _is_of_points(module):
                by_name |= {"linear"}
            roles = _roles(kind, by_name, Part(name, module, kind, _NOTHING).has_bias, is_in_experts(name))
        parts[name] = Part(name, module, kind, roles, experts=experts)
    return parts


@cache
def _roles(kind: str, by_name: frozenset[str], has_bias: bool, in_experts: bool) -> frozenset[str]:
    more = [*(["bias"] if has_bias else []), *(["expert"] if in_experts and kind == "linear" else [])]
    return by_name.union([kind], more)


def _attentions(tree: ModuleTree, parts: Mapping[str, Part], backbone: str) -> dict[str, Part]:
    """The modules of the backbone that compute attention themselves: none of them holds another."""
    found: dict[str, Part] = {}
    around: set[str] = set()
    able = [name for name, module in tree.modules.items() if computes_attention(type(module))]
    for name in reversed([name for name in able if name and name.startswith(backbone) and name not in parts]):
        if name not in around:
            below = [parts[other] for other in tree.below(name) if other in parts]
            shape = attention_shape(tree.modules[name], below)
            if shape:
                sizes = attention_sizes(tree.modules[name], below, shape)
                found[name] = Part(
                    name,
                    tree.modules[name],
                    "attention",
                    frozenset({"attention"}),
                    sizes,
                    shape,
                    features_first=gives_features_first(below),
                    unheard=why_alone(tree.modules[name], below),
                )
                around.update(ancestors(name))
    return dict(reversed(found.items()))


def _set_apart(tree: ModuleTree, parts: dict[str, Part], heads: tuple[str, ...]) -> tuple[str, ...]:
    """Give the parts of a new head their role; the names of its parameters."""
    inside = [name for head in heads for name in (head, *tree.below(head))]
    for name in inside:
        if name in parts:
            parts[name] = replace(parts[name], roles=_HEAD)
    return tuple(
        f"{name}.{key}" for name in inside for key, value in tree.modules[name]._parameters.items() if value is not None
    )


def _add_blocks(tree: ModuleTree, parts: dict[str, Part], blocks: Iterable[str]) -> None:
    """The blocks as parts; in a block of which no map is known by its name, the first and the last one get roles."""
    for name in blocks:
        found = [parts[other] for other in (name, *tree.below(name)) if other in parts]
        maps = [part for part in found if part.kind in _MAPS]
        ends = [part for part in maps if "sublayer.output" in part.roles]
        roles = {"block"}
        if not ends and maps:
            _add_roles(parts, maps[0].name, "sublayer.input")
            _add_roles(parts, maps[-1].name, "sublayer.output")
        elif not ends:
            roles |= {"sublayer.input", "sublayer.output"}
        place = _last_of_chain(tree, name)
        if place in parts:
            _add_roles(parts, place, *roles)
        elif place and found:
            out = _stream(tree, ends) or (ends or maps or found)[-1].features[1]
            image = _is_of_images(name, tree.modules[place], found)
            sizes = (maps[0].features[0], out) if image else (out, out)
            parts[place] = Part(place, tree.modules[place], "block", frozenset(roles), sizes, features_first=image)


def _stream(tree: ModuleTree, ends: Sequence[Part]) -> int:
    """What a block gives whose sublayers give different sizes: that of the model; 0 where it is none of them."""
    sizes = {part.features[1] for part in ends}
    hidden = getattr(getattr(tree.modules[""], "config", None), "hidden_size", None)
    return hidden if isinstance(hidden, int) and hidden in sizes and len(sizes) > 1 else 0


def _is_of_images(name: str, block: nn.Module, within: Sequence[Part]) -> bool:
    """Whether features come first in a block: it begins with a convolution, or turns the axes for all but those.

    One of tokens may convolve in its attention, or along its tokens, and leaves it to what convolves to turn the axes.
    """
    kinds = {part.kind for part in within}
    if turns_axes(type(block)) and "attention" not in kinds:
        convolving, mapping = (
            {part.name.removeprefix(f"{name}.").partition(".")[0] for part in within if part.kind == kind}
            for kind in ("convolution", "linear")
        )
        if convolving - mapping:
            return True
    first = next((part for part in within if part.kind in (*_MAPS, "attention")), within[0])
    along = isinstance(first.module, nn.Conv1d) and "linear" in kinds
    return first.kind == "convolution" and not along


def _is_of_points(module: nn.Module) -> bool:
    """Whether a convolution along a sequence is one point wide: a linear map of each position."""
    return isinstance(module, nn.Conv1d) and module.kernel_size == (1,) and module.stride == (1,)


def _add_roles(parts: dict[str, Part], name: str, *roles: str) -> None:
    parts[name] = replace(parts[name], roles=parts[name].roles.union(roles))


def _last_of_chain(tree: ModuleTree, name: str) -> str:
    """The module whose output is that of ``name``: itself, or the last one of a sequence; empty for another list."""
    while isinstance(tree.modules[name], nn.Sequential) and tree.children(name):
        name = tree.children(name)[-1]
    return "" if tree.is_list(name) else name


def _embedding_size(model: nn.Module, parts: Mapping[str, Part]) -> int:
    """The size of an embedded token, or of what the first map gives."""
    embedding = input_embedding(model)
    if isinstance(embedding, nn.Embedding):
        return embedding.embedding_dim
    return next((part.features[1] for part in parts.values() if part.kind in _MAPS), 0)


def _kind(module: nn.Module) -> str | None:
    module_type = type(module)
    if has_weight_format(module) or is_linear_by_another_name(module):
        return "linear"
    return _kind_of_type(module_type) or ("norm" if _is_norm(module) else None)


@once_a_class
def _kind_of_type(module_type: type[Any]) -> str | None:
    if issubclass(module_type, nn.Embedding):
        return "embedding"
    if issubclass(module_type, nn.modules.conv._ConvNd):
        return "convolution"
    return "norm" if issubclass(module_type, _NORMS) else None


_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def _is_norm(module: nn.Module) -> bool:
    """Models write their own norms, known by structure: a vector ``weight``, maybe a bias, and nothing below."""
    parameters = module._parameters
    weight = parameters.get("weight")
    if weight is None or weight.dim() != 1 or not parameters.keys() <= {"weight", "bias"}:
        return False
    bias = parameters.get("bias")
    below = [child for child in module._modules.values() if child is not None and not isinstance(child, Slot)]
    return (bias is None or bias.dim() == 1) and not any(True for child in below for _ in child.parameters())
