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

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from ..quant import weight_format
from .role_names import ROLES_OF_NAME
from .site import AttentionShape, ExpertsShape
from .slot import Slot


@dataclass(frozen=True)
class Part:
    """One module that owns parameters.

    Attributes:
        name: Its dotted name in the model.
        module: The module.
        kind: ``linear``, ``convolution``, ``norm``, ``embedding`` or ``experts``, which own weights; ``attention``,
            ``block`` or ``model``, which hold such parts.
        roles: What it is in the model.
        attention: Sizes of keys and values, of an attention.
        experts: The projections, of fused experts.
        unheard: Why adapters at its output or input would never run, such as a model that reads its weight without
            calling it; empty where they run.
    """

    name: str
    module: nn.Module = field(repr=False, compare=False)
    kind: str
    roles: frozenset[str]
    attention: AttentionShape | None = None
    experts: ExpertsShape | None = None
    unheard: str = ""

    @property
    def has_bias(self) -> bool:
        """Whether it owns a bias."""
        return self.module._parameters.get("bias") is not None

    def suits(self, accepts: Collection[str]) -> bool:
        """Whether it is one of what a method ``accepts``: by its kind, a role, or ``bias`` where it has one."""
        if self.unheard:
            return False
        abilities = self.roles | {self.kind} | ({"bias"} if self.has_bias else set())
        return not abilities.isdisjoint(accepts)

    @property
    def feature_axis(self) -> int:
        """Which axis of its output holds the features."""
        return 1 if isinstance(self.module, _FEATURES_FIRST) else -1


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
    parts = {}
    for name, module in base_modules(model):
        kind = _kind(module)
        if kind:
            in_backbone = name.startswith(backbone) and module is not output_embedding
            parts[name] = Part(name, module, kind, _roles(name, module, kind, in_backbone))
    return Anatomy(parts, _new_head(model, backbone) if output_embedding is None else ())


def base_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """``model.named_modules()`` without the adapters attached to it; a module met twice is given once."""
    seen: set[nn.Module] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if module in seen or isinstance(module, Slot):
            continue
        seen.add(module)
        yield name, module
        prefix = f"{name}." if name else ""
        waiting.extend((prefix + key, child) for key, child in reversed(module._modules.items()) if child is not None)


def base_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Every parameter of the base model as (dotted name, owning module, name in it); tied ones under each name."""
    for name, module in base_modules(model):
        prefix = f"{name}." if name else ""
        for key, parameter in module._parameters.items():
            if parameter is not None:
                yield prefix + key, module, key


_FEATURES_FIRST = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
)


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
