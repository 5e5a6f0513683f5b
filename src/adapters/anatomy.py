"""Anatomy: which part of a model is what, found from its structure and one table of names.

A *part* is a module that owns parameters and is adapted or trained as one: a linear map, a norm, an embedding, a
convolution. Its *kind* follows from its type; its *roles* say what it does in the model, and are what targets name:

    @linear                                     every linear map of the backbone
    @attention.query .key .value .output        the projections of attention; a fused projection has several roles
    @mlp.up .gate .down                         the maps of the feed-forward block
    @norm  @embedding  @convolution             by kind
    @bias                                       every part of the backbone that has a bias
    @head                                       what lies outside the backbone
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

from torch import nn

from ..quant import weight_format
from .attention_parts import attention_shape, computes_attention
from .block_parts import ancestors, block_names
from .expert_parts import experts_roles, experts_shape
from .part import Part, base_modules, base_parameters
from .role_names import ROLES_OF_NAME
from .slot import Slot
from .unheard import more_than_linear, unheard_modules


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


def anatomy(model: nn.Module) -> Anatomy:
    """The anatomy of ``model``; adapters that are attached to it are not part of it."""
    backbone, output_embedding = _transformers_view(model)
    modules = dict(base_modules(model))
    unheard = unheard_modules(modules)
    parts: dict[str, Part] = {}
    for name, module in modules.items():
        kind = _kind(module)
        experts = experts_shape(module) if kind is None and module._parameters else None
        in_backbone = name.startswith(backbone) and module is not output_embedding
        if kind:
            reason = unheard.get(name) or (more_than_linear(module) if kind == "linear" else "")
            parts[name] = Part(name, module, kind, _roles(name, module, kind, in_backbone), unheard=reason)
        elif experts:
            width = experts.projections["down_proj"][1]
            parts[name] = Part(name, module, "experts", experts_roles(experts), width, experts=experts)
    holders = _holders(model, modules, parts, backbone)
    ordered = {name: holders.get(name) or parts[name] for name in modules if name in holders or name in parts}
    return Anatomy(ordered, _new_head(model, backbone) if output_embedding is None else ())


def _holders(
    model: nn.Module, modules: Mapping[str, nn.Module], parts: Mapping[str, Part], backbone: str
) -> dict[str, Part]:
    """The parts that hold others: attentions, blocks, and the model."""
    holders = _attentions(modules, parts, backbone)
    for name in block_names(modules, parts, holders):
        within = [part for other, part in parts.items() if other.startswith(f"{name}.")]
        if within and name not in parts:
            holders[name] = Part(name, modules[name], "block", frozenset({"block"}), within[-1].features[1])
    if "" not in parts:
        holders[""] = Part("", model, "model", frozenset({"model"}), _width(model, parts))
    return holders


def _attentions(modules: Mapping[str, nn.Module], parts: Mapping[str, Part], backbone: str) -> dict[str, Part]:
    """The modules that compute attention themselves: none of them holds another."""
    names = list(modules)
    found: dict[str, Part] = {}
    around: set[str] = set()
    for index, name in reversed(list(enumerate(names))):
        if name in parts or name in around or not name.startswith(backbone):
            continue
        if name and computes_attention(type(modules[name])):
            below = takewhile(lambda other, start=f"{name}.": other.startswith(start), names[index + 1 :])
            within = [parts[other] for other in below if other in parts]
            shape = attention_shape(modules[name], within)
            if shape:
                width = next(part.features[0] for part in within if part.kind == "linear")
                found[name] = Part(name, modules[name], "attention", frozenset({"attention"}), width, shape)
                around.update(ancestors(name))
    return dict(reversed(found.items()))


def _width(model: nn.Module, parts: Mapping[str, Part]) -> int:
    """The size of an embedded token."""
    try:
        embedding = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        embedding = None
    if isinstance(embedding, nn.Embedding):
        return embedding.embedding_dim
    return next((part.features[1] for part in parts.values() if part.kind in ("linear", "convolution")), 0)


def _kind_of_type(module_type: type[nn.Module]) -> str | None:
    if weight_format.dispatch(module_type) is not weight_format.dispatch(object):
        return "linear"
    if issubclass(module_type, nn.Embedding):
        return "embedding"
    if issubclass(module_type, nn.modules.conv._ConvNd):
        return "convolution"
    return None


def _kind(module: nn.Module) -> str | None:
    return _kind_of_type(type(module)) or ("norm" if _is_norm(module) else None)


def _is_norm(module: nn.Module) -> bool:
    """Models write their own norms, so they are known by structure: a leaf with a vector ``weight``, maybe a bias."""
    parameters = {key: value for key, value in module._parameters.items() if value is not None}
    return (
        "weight" in parameters
        and parameters.keys() <= {"weight", "bias"}
        and all(value.dim() == 1 for value in parameters.values())
        and all(isinstance(child, Slot) for child in module._modules.values())
    )


def _roles(name: str, module: nn.Module, kind: str, in_backbone: bool) -> frozenset[str]:
    if not in_backbone:
        return frozenset({"head"})
    roles = {kind}
    if kind == "linear":
        roles |= _roles_of_name(name)
    if module._parameters.get("bias") is not None:
        roles.add("bias")
    return frozenset(roles)


def _roles_of_name(name: str) -> frozenset[str]:
    """The entry of the table for the longest ending of ``name``; numbers in it count for nothing."""
    words = [word for word in name.split(".") if not word.isdigit()]
    for length in (3, 2, 1):
        roles = ROLES_OF_NAME.get(".".join(words[-length:]))
        if roles is not None:
            return roles
    return frozenset()


def _transformers_view(model: nn.Module) -> tuple[str, nn.Module | None]:
    """How the names inside the backbone begin, and the output embedding of a language model.

    Some models (T5 among them) declare a ``base_model_prefix`` that they have no child for: the backbone is then the
    whole model, less its output embedding.
    """
    from transformers import PreTrainedModel  # here, since it takes seconds to import and plain modules do not need it

    if not isinstance(model, PreTrainedModel):
        return "", None
    backbone = "" if model.base_model is model else f"{model.base_model_prefix}."
    return backbone, model.get_output_embeddings()


def _new_head(model: nn.Module, backbone: str) -> tuple[str, ...]:
    if not backbone:
        return ()
    return tuple(name for name, _, _ in base_parameters(model) if not name.startswith(backbone))
