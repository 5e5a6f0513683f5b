"""Anatomy: which part of a model is what, found from its structure and one table of names.

A *part* is a place that is adapted or trained as one: a module that owns weights (a linear map, a norm, an embedding, a
convolution, fused experts) or one that holds such modules (an attention, a block, the model). Its *kind* follows from
what it is; its *roles* say what it does in the model, and are what targets name:

    @linear                                     every linear map of the backbone, fused experts among them
    @attention.query .key .value .output        the projections of attention; a fused projection has several roles
    @mlp.up .gate .down                         the maps of the feed-forward block
    @sublayer.input .output                     the first and the last maps of sublayers of every kind
    @expert                                     fused experts, and linear maps of single experts
    @norm  @embedding  @convolution             by kind
    @bias                                       every part of the backbone that has a bias
    @head                                       what lies outside the backbone
    @attention  @block  @model                  what computes attention; the repeated blocks; the model itself
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from torch import nn

from ..quant import weight_format
from .attention_parts import attention_shape, computes_attention
from .block_parts import block_names
from .declared_roles import roles_by_name
from .expert_parts import experts_roles, experts_shape
from .head_parts import new_head_within, transformers_view
from .module_tree import ModuleTree, ancestors
from .part import Part, base_modules, base_parameters
from .part_code import part_code
from .role_names import is_in_experts
from .slot import Slot
from .unheard import more_than_linear, unheard_modules, unused_copies

__all__ = ["Anatomy", "Part", "anatomy", "base_modules", "base_parameters"]

_MAPS = ("linear", "convolution", "experts")


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
        """Names of the maps of the backbone that no adapter can be put at."""
        return tuple(name for name, part in self.parts.items() if part.unheard and "linear" in part.roles)


def anatomy(model: nn.Module) -> Anatomy:
    """The anatomy of ``model``; adapters that are attached to it are not part of it."""
    tree = ModuleTree(model)
    backbone, output_embedding = transformers_view(model)
    parts = _owners(tree, backbone, output_embedding, roles_by_name(model))
    attentions = _attentions(tree, parts)
    norms = [name for name, part in parts.items() if part.kind == "norm"]
    blocks = [name for name in block_names(tree, list(attentions), norms) if name.startswith(backbone)]
    head: tuple[str, ...] = ()
    if output_embedding is None and backbone:
        head = tuple(name for name, _, _ in base_parameters(model) if not name.startswith(backbone))
    elif output_embedding is None:
        head = _set_apart(tree, parts, new_head_within(tree, parts, blocks))
    parts.update(attentions)
    _add_blocks(tree, parts, blocks)
    if "" not in parts:
        parts[""] = Part("", model, "model", frozenset({"model"}), _embedding_size(model, parts))
    _mark_unheard(tree, parts)
    return Anatomy({name: parts[name] for name in tree.modules if name in parts}, head)


def _mark_unheard(tree: ModuleTree, parts: dict[str, Part]) -> None:
    """Give the parts where adapters would not run, or break the model, the reason why."""
    reasons = unheard_modules(tree)
    reasons |= unused_copies(tree, [name for name, part in parts.items() if part.kind == "embedding"])
    for name, part in parts.items():
        reason = reasons.get(name, "") or (more_than_linear(part.module) if part.kind == "linear" else "")
        if not part.owns_weight and part_code(type(part.module)).iterates and name:
            reason = f"{type(part.module).__name__} iterates over its children, and would take adapters for some."
        if reason:
            parts[name] = replace(part, unheard=reason)


def _owners(
    tree: ModuleTree, backbone: str, output_embedding: nn.Module | None, roles_of: Callable[[str], frozenset[str]]
) -> dict[str, Part]:
    """The parts that own weights."""
    parts: dict[str, Part] = {}
    for name, module in tree.modules.items():
        if not module._parameters:
            continue
        kind = _kind(module)
        experts = experts_shape(module) if kind is None else None
        if kind is None and experts is None:
            continue
        if not name.startswith(backbone) or module is output_embedding:
            roles = frozenset({"head"})
        elif experts:
            roles = experts_roles(name, experts, roles_of)
        else:
            roles = _roles(name, module, str(kind), roles_of)
        parts[name] = Part(name, module, kind or "experts", roles, experts=experts)
    return parts


def _roles(name: str, module: nn.Module, kind: str, roles_of: Callable[[str], frozenset[str]]) -> frozenset[str]:
    roles = {kind}
    if kind in ("linear", "convolution"):
        roles |= roles_of(name)
    if kind == "linear" and is_in_experts(name):
        roles.add("expert")
    if module._parameters.get("bias") is not None:
        roles.add("bias")
    return frozenset(roles)


def _attentions(tree: ModuleTree, parts: Mapping[str, Part]) -> dict[str, Part]:
    """The modules that compute attention themselves: none of them holds another."""
    found: dict[str, Part] = {}
    around: set[str] = set()
    for name in reversed([name for name, module in tree.modules.items() if computes_attention(type(module))]):
        if name and name not in parts and name not in around:
            below = [parts[other] for other in tree.below(name) if other in parts]
            shape = attention_shape(tree.modules[name], below)
            if shape:
                width = next(part.features[0] for part in below if part.kind == "linear")
                found[name] = Part(name, tree.modules[name], "attention", frozenset({"attention"}), width, shape)
                around.update(ancestors(name))
    return dict(reversed(found.items()))


def _set_apart(tree: ModuleTree, parts: dict[str, Part], heads: tuple[str, ...]) -> tuple[str, ...]:
    """Give the parts of a new head their role; the names of its parameters."""
    inside = [name for head in heads for name in (head, *tree.below(head))]
    for name in inside:
        if name in parts:
            parts[name] = replace(parts[name], roles=frozenset({"head"}))
    return tuple(
        f"{name}.{key}" for name in inside for key, value in tree.modules[name]._parameters.items() if value is not None
    )


def _add_blocks(tree: ModuleTree, parts: dict[str, Part], blocks: Iterable[str]) -> None:
    """The blocks as parts; in a block of which no map is known by its name, the first and the last one get roles."""
    for name in blocks:
        within = [parts[other] for other in (name, *tree.below(name)) if other in parts and parts[other].owns_weight]
        maps = [part for part in within if part.kind in _MAPS]
        ends = [part for part in maps if "sublayer.output" in part.roles]
        roles = {"block"}
        if not ends and maps:
            _add_roles(parts, maps[0].name, "sublayer.input")
            _add_roles(parts, maps[-1].name, "sublayer.output")
        elif not ends:
            roles |= {"sublayer.input", "sublayer.output"}
        width = (ends or maps or within)[-1].features[1] if within else 0
        place = _last_of_chain(tree, name)
        if place in parts:
            _add_roles(parts, place, *roles)
        elif place:
            parts[place] = Part(place, tree.modules[place], "block", frozenset(roles), width)


def _add_roles(parts: dict[str, Part], name: str, *roles: str) -> None:
    parts[name] = replace(parts[name], roles=parts[name].roles.union(roles))


def _last_of_chain(tree: ModuleTree, name: str) -> str:
    """The module whose output is that of ``name``: itself, or the last one of a sequence; empty for another list."""
    while isinstance(tree.modules[name], nn.Sequential) and tree.children(name):
        name = tree.children(name)[-1]
    return "" if tree.is_list(name) else name


def _embedding_size(model: nn.Module, parts: Mapping[str, Part]) -> int:
    """The size of an embedded token, or of what the first map gives."""
    try:
        embedding = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        embedding = None
    if isinstance(embedding, nn.Embedding):
        return embedding.embedding_dim
    return next((part.features[1] for part in parts.values() if part.kind in _MAPS), 0)


def _kind(module: nn.Module) -> str | None:
    return _kind_of_type(type(module)) or ("norm" if _is_norm(module) else None)


@cache
def _kind_of_type(module_type: type[nn.Module]) -> str | None:
    if weight_format.dispatch(module_type) is not weight_format.dispatch(object):
        return "linear"
    if issubclass(module_type, nn.Embedding):
        return "embedding"
    if issubclass(module_type, nn.modules.conv._ConvNd):
        return "convolution"
    if issubclass(module_type, _NORMS):
        return "norm"
    return None


_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def _is_norm(module: nn.Module) -> bool:
    """Models write their own norms, so they are known by structure: a vector ``weight``, maybe a bias, nothing below."""
    parameters = module._parameters
    weight = parameters.get("weight")
    if weight is None or weight.dim() != 1 or not parameters.keys() <= {"weight", "bias"}:
        return False
    bias = parameters.get("bias")
    below = [child for child in module._modules.values() if child is not None and not isinstance(child, Slot)]
    return (bias is None or bias.dim() == 1) and not any(True for child in below for _ in child.parameters())
