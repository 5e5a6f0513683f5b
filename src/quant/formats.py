"""The format interface: three questions that every stored weight answers, behind one ``singledispatch``.

A method never asks how a weight is stored, and a format never asks which method wants to know. A new format is one
subclass of ``WeightFormat`` and one registration::

    weight_format.register(MyQuantisedLinear)(lambda module: MyFormat())
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import singledispatch
from importlib import import_module
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import FormatError
from .operand import Floating, Operand, plus


class WeightFormat(ABC):
    """How the weight of one kind of linear module is stored.

    Attributes:
        quantised: Whether a weight is rounded to few values when it is stored, so that little may be left of a small
            change. Such a weight can be exchanged for one in floating point.
        tensor: What the parameter or buffer is called that holds the weight.
    """

    quantised: ClassVar[bool] = True
    tensor: ClassVar[str] = "weight"

    @abstractmethod
    def features(self, module: nn.Module) -> tuple[int, int]:
        """``(in_features, out_features)`` of the linear map, however its weight is packed or transposed."""

    @abstractmethod
    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight as a floating-point tensor of shape (out_features, in_features); never a view to write into."""

    @abstractmethod
    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor | nn.Module:
        """A stored ``weight`` of this format with ``delta`` added, in the same format.

        Args:
            module: The linear module the weight belongs to.
            weight: The stored weight; not changed.
            delta: What to add, shape (out_features, in_features).

        Returns:
            A new tensor in the stored form; a new module without a bias, where that tensor alone is not the weight.

        Raises:
            FormatError: There is no way back into this format.
        """

    def operand(self, module: nn.Module) -> Operand:
        """What a product with the weight takes, equal to that of the last call while the weight is the same."""
        return Read(self, module)

    def hold(self, module: nn.Module) -> bool:
        """See to it that ``module`` keeps its weight as it is while adapters are attached to its model.

        Returns:
            Whether there was anything to do, and ``release`` is to undo it.
        """
        return False

    def release(self, module: nn.Module) -> None:  # noqa: B027 - most layers never touch their weight
        """Undo ``hold``."""


@dataclass(frozen=True)
class Read:
    """A weight that its format reads anew for each product.

    Attributes:
        format: The format.
        module: What holds the weight.
    """

    format: WeightFormat = field(compare=False)
    module: nn.Module

    @property
    def shape(self) -> torch.Size:
        """(out_features, in_features)."""
        in_features, out_features = self.format.features(self.module)
        return torch.Size((out_features, in_features))

    def dequantise(self, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """The weight, wherever the format puts it."""
        weight = self.format.dequantised(self.module).to(dtype)
        return weight if out is None else out.copy_(weight)

    def plus(self, B: Tensor, A: Tensor, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
        """``W + B A``."""
        return plus(self.dequantise(), B, A, dtype, out)


@singledispatch
def weight_format(module: nn.Module) -> WeightFormat:
    """The format that ``module``'s weight is stored in.

    Raises:
        FormatError: No format is registered for this type of module.
    """
    raise FormatError(
        f"{type(module).__name__} is not a linear module of a known weight format. "
        "Target its linear children instead, or register a format through the hook register_formats."
    )


def has_weight_format(module: nn.Module) -> bool:
    """Whether a format is registered for this type of module: whether it is a linear map.

    The layers of libraries that derive none from ``nn.Linear`` are registered when they are met.
    """
    module_type = type(module)
    formats = _LAYERS.get(_library(module_type), ())
    if formats and module_type not in weight_format.registry:  # nor is a class what the one it derives from is
        found = (import_module(f".{name}", __package__).format_of(module) for name in formats)
        stored: WeightFormat | None = next((each for each in found if each is not None), None)
        if stored is None:
            return False
        weight_format.register(module_type, lambda module: stored)
    return weight_format.dispatch(module_type) is not weight_format.dispatch(object)


def is_floating(tensor: Tensor) -> bool:
    """Whether a tensor holds floating-point values, rather than codes that pass for some."""
    return tensor.is_floating_point() and _library(type(tensor)) != "torchao"


def is_packed(module: nn.Module) -> bool:
    """Whether ``module`` is a linear map whose weight is no parameter of that name."""
    return has_weight_format(module) and weight_format(module).tensor != "weight"


def is_plain(module: nn.Module) -> bool:
    """Whether ``module`` computes what modules of its format do, rather than something in a ``forward`` of its own."""
    found = weight_format.dispatch(type(module))
    known = [kind for kind, registered in weight_format.registry.items() if registered is found]
    return any(kind.forward is type(module).forward for kind in known if issubclass(kind, nn.Module))


def summed(weight: Tensor, delta: Tensor) -> Tensor:
    """``weight + delta``, added in at least float32 and rounded once to the dtype of ``weight``."""
    precise = torch.promote_types(weight.dtype, torch.float32)
    return (weight.to(precise) + delta.to(precise)).to(weight.dtype)


class LinearFormat(WeightFormat):
    """A floating-point weight of shape (out_features, in_features), as in ``nn.Linear``."""

    quantised = False

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the module's declared sizes, which hold for packed subclasses too."""
        return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]

    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight itself, detached."""
        return self._floating(module, module.weight)  # type: ignore[arg-type]

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """The sum in the weight's dtype."""
        return summed(self._floating(module, weight), delta)

    def operand(self, module: nn.Module) -> Operand:
        """The weight itself."""
        return Floating(self.dequantised(module))

    def _floating(self, module: nn.Module, weight: Tensor) -> Tensor:
        # Quantised layers (bitsandbytes among them) subclass nn.Linear: what holds packed integers is not ours to read.
        if not weight.is_floating_point():
            raise FormatError(
                f"{type(module).__name__} stores its weight as {weight.dtype}, in a format that no installed plugin "
                "can read. Load the model in a floating-point dtype, or install the plugin for its format."
            )
        return weight.detach()


class Conv1DFormat(LinearFormat):
    """A floating-point weight of shape (in_features, out_features), as in GPT-2's ``Conv1D``."""

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the transposed weight."""
        in_features, out_features = module.weight.shape  # type: ignore[misc]
        return int(in_features), int(out_features)

    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight, transposed."""
        return super().dequantised(module).T

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """The sum in the stored orientation."""
        return super().plus(module, weight, delta.T)


class DeclaredFormat(WeightFormat):
    """Any format of a layer that says its sizes as ``nn.Linear`` does."""

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the module's declared sizes."""
        return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]


_LAYERS = {"gptqmodel": ("gptq", "awq"), "awq": ("awq",), "hqq": ("hqq",)}
"""Libraries whose layers are no ``nn.Linear``, and the modules here with the formats they may be of."""


def _library(kind: type[object]) -> str:
    return kind.__module__.partition(".")[0]


@weight_format.register
def _linear(module: nn.Linear) -> WeightFormat:
    if _library(type(module)) == "bitsandbytes":
        import_module(".bitsandbytes", __package__)  # which registers the types
        return weight_format(module)
    kind = type(module._parameters.get("weight"))
    if kind is not nn.Parameter and _library(kind) == "torchao":  # no name is taken apart in compiled code
        stored: WeightFormat = import_module(".torchao", __package__).FORMAT
        return stored
    return LinearFormat()


@weight_format.register
def _conv1d(module: Conv1D) -> WeightFormat:
    return Conv1DFormat()
