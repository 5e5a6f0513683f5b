"""A part: one place of a model that can be adapted, and what it is there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..quant import is_packed, weight_format
from .once import once_a_class
from .part_code import part_code
from .site import AttentionShape, ExpertsShape
from .slot import Slot


@dataclass(frozen=True)
class Part:
    """One place of a model.

    Attributes:
        name: Its dotted name in the model; empty for the model itself.
        module: The module.
        kind: ``linear``, ``convolution``, ``norm``, ``embedding`` or ``experts``, which own weights; ``attention``,
            ``block`` or ``model``, which hold such parts.
        roles: What it is in the model.
        sizes: Sizes of the feature axes of its input and its output, of a kind that holds others.
        attention: Sizes of keys and values, of an attention.
        experts: The projections, of fused experts.
        features_first: Whether the features are axis 1 of its output, of a kind that holds others.
        unheard: Why no adapter can be put there: the model reads its weight without calling it, so that none would
            run, or the module computes more than its kind says. Empty where one can.
        is_read: Whether that is since the model reads its parameters without calling it, so that they can be trained
            themselves.
    """

    name: str
    module: nn.Module = field(repr=False, compare=False)
    kind: str
    roles: frozenset[str]
    sizes: tuple[int, int] | None = None
    attention: AttentionShape | None = None
    experts: ExpertsShape | None = None
    features_first: bool = False
    unheard: str = ""
    is_read: bool = False

    @property
    def owns_weight(self) -> bool:
        """Whether it is the module whose weight counts, rather than one that holds such modules."""
        return self.kind not in ("attention", "block", "model")

    @property
    def has_bias(self) -> bool:
        """Whether it owns a bias; that of a packed linear map need not be a parameter."""
        packed = self.kind == "linear" and is_packed(self.module)
        return (getattr(self.module, "bias", None) if packed else self.module._parameters.get("bias")) is not None

    def suits(self, accepts: Collection[str]) -> bool:
        """Whether it is one of what a method ``accepts``: by its kind, a role, or ``bias`` where it has one.

        Fused experts take adapters of their own kind only, so a method must name that kind; so do convolutions that
        are linear maps of each position.
        """
        if self.unheard:
            return False
        if self.kind == "experts":
            return "experts" in accepts
        abilities = {*self.roles, *(["bias"] if self.has_bias else [])}
        return self.kind in accepts or not (abilities - {"linear"}).isdisjoint(accepts)

    @property
    def feature_axis(self) -> int:
        """Which axis of its output holds the features."""
        if self.features_first or isinstance(self.module, _FEATURES_FIRST):
            return 1
        layout = getattr(self.module, "data_format", None)
        turned = layout is None and self.kind == "norm" and turns_axes(type(self.module))
        return 1 if turned or layout == "channels_first" else -1

    @property
    def features(self) -> tuple[int, int]:
        """The sizes of the feature axes of its input and its output."""
        if self.sizes:
            return self.sizes
        if self.experts:
            sizes = list(self.experts.projections.values())
            return (sizes[-1][1] if "down_proj" in self.experts.projections else sizes[0][0]), sizes[-1][1]
        if self.kind == "linear":
            return weight_format(self.module).features(self.module)
        if self.kind == "convolution":
            return int(self.module.in_channels), int(self.module.out_channels)  # type: ignore[arg-type]
        weight = self.module._parameters["weight"]
        assert weight is not None
        return int(weight.shape[-1]), int(weight.shape[-1])


@once_a_class
def turns_axes(module_type: type[Any]) -> bool:
    """Whether the ``forward`` of a class of norms moves the features to the last axis, and back."""
    return not part_code(module_type).names.isdisjoint(("permute", "transpose", "movedim", "moveaxis"))


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
