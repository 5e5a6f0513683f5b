"""A part: one place of a model that can be adapted, and what it is there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from torch import nn

from ..quant import weight_format
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

    @property
    def owns_weight(self) -> bool:
        """Whether it is the module whose weight counts, rather than one that holds such modules."""
        return self.kind not in ("attention", "block", "model")

    @property
    def has_bias(self) -> bool:
        """Whether it owns a bias."""
        return self.module._parameters.get("bias") is not None

    def suits(self, accepts: Collection[str]) -> bool:
        """Whether it is one of what a method ``accepts``: by its kind, a role, or ``bias`` where it has one.

        Fused experts take adapters of their own kind only, so a method must name that kind.
        """
        if self.unheard:
            return False
        if self.kind == "experts":
            return "experts" in accepts
        abilities = self.roles | {self.kind} | ({"bias"} if self.has_bias else set())
        return not abilities.isdisjoint(accepts)

    @property
    def feature_axis(self) -> int:
        """Which axis of its output holds the features."""
        first = self.features_first or isinstance(self.module, _FEATURES_FIRST)
        return 1 if first or getattr(self.module, "data_format", None) == "channels_first" else -1

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
