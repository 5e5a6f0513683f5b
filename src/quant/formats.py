"""The format interface: three questions that every stored weight answers, behind one ``singledispatch``.

A method never asks how a weight is stored, and a format never asks which method wants to know. A new format is one
subclass of ``WeightFormat`` and one registration::

    weight_format.register(MyQuantisedLinear)(lambda module: MyFormat())
"""

from abc import ABC, abstractmethod
from functools import singledispatch
from importlib import import_module

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import FormatError


class WeightFormat(ABC):
    """How the weight of one kind of linear module is stored."""

    @abstractmethod
    def features(self, module: nn.Module) -> tuple[int, int]:
        """``(in_features, out_features)`` of the linear map, however its weight is packed or transposed."""

    @abstractmethod
    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight as a floating-point tensor of shape (out_features, in_features); never a view to write into."""

    @abstractmethod
    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """A stored ``weight`` of this format with ``delta`` added, in the same format.

        Args:
            module: The linear module the weight belongs to.
            weight: The stored weight; not changed.
            delta: What to add, shape (out_features, in_features).

        Returns:
            A new tensor in the stored form.
        """

    def hold(self, module: nn.Module) -> bool:
        """See to it that ``module`` keeps its weight as it is while adapters are attached to its model.

        Returns:
            Whether there was anything to do, and ``release`` is to undo it.
        """
        return False

    def release(self, module: nn.Module) -> None:  # noqa: B027 - most layers never touch their weight
        """Undo ``hold``."""


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
    """Whether a format is registered for this type of module: whether it is a linear map."""
    return weight_format.dispatch(type(module)) is not weight_format.dispatch(object)


def summed(weight: Tensor, delta: Tensor) -> Tensor:
    """``weight + delta``, added in at least float32 and rounded once to the dtype of ``weight``."""
    precise = torch.promote_types(weight.dtype, torch.float32)
    return (weight.to(precise) + delta.to(precise)).to(weight.dtype)


class LinearFormat(WeightFormat):
    """A floating-point weight of shape (out_features, in_features), as in ``nn.Linear``."""

    def features(self, module: nn.Module) -> tuple[int, int]:
        """From the module's declared sizes, which hold for packed subclasses too."""
        return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]

    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight itself, detached."""
        return self._floating(module, module.weight)  # type: ignore[arg-type]

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """The sum in the weight's dtype."""
        return summed(self._floating(module, weight), delta)

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


_LIBRARIES = ("bitsandbytes",)
"""Libraries whose layers are linear ones, with formats in modules of the same names here: imported when one is met."""


@weight_format.register
def _linear(module: nn.Linear) -> WeightFormat:
    library = type(module).__module__.partition(".")[0]
    if library in _LIBRARIES:
        import_module(f".{library}", __package__)
        return weight_format(module)
    return LinearFormat()


@weight_format.register
def _conv1d(module: Conv1D) -> WeightFormat:
    return Conv1DFormat()
