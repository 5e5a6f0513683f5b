"""The formats of torchao: tensors of its own classes as the weights of plain linear maps."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import FormatError
from .formats import DeclaredFormat, summed

_OF_ACTIVATIONS = ("act_quant_kwargs", "activation_quantization")
"""What a weight says of quantising what it is multiplied by."""

_PASSES: dict[tuple[object, ...], bool] = {}


class TorchaoFormat(DeclaredFormat):
    """``nn.Linear`` with a quantised weight."""

    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight in the dtype it had.

        Raises:
            FormatError: Its class has no way out of its format.
        """
        return _dequantised(module, module._parameters["weight"])

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> Tensor:
        """The sum, quantised again by what the weight says of itself: its type and its blocks.

        Raises:
            FormatError: A class whose settings are not all held by its tensors.
        """
        stored: Any = weight
        value = summed(_dequantised(module, stored), delta)
        kind = type(stored)
        if kind.__name__ == "Int8Tensor":
            names = ("act_quant_kwargs", "act_quant_scale", "act_quant_zero_point", "act_pre_scale", "reduce_range")
            options = {name: getattr(stored, name) for name in names}
            quantised = kind.from_hp(value, _granularity(stored), _mapping(stored), **options)
        elif kind.__name__ == "Float8Tensor":
            quantised = kind.from_hp(
                value,
                float8_dtype=stored.qdata.dtype,
                granularity=_granularity(stored),
                mm_config=stored.mm_config,
                kernel_preference=stored.kernel_preference,
                act_quant_kwargs=stored.act_quant_kwargs,
            )
        elif kind.__name__ == "IntxUnpackedToInt8Tensor":
            quantised = kind.from_hp(
                value,
                tuple(stored.block_size),
                stored.target_dtype,
                mapping_type=_mapping(stored),
                activation_quantization=stored.activation_quantization,
            )
        else:
            raise FormatError(
                f"A {kind.__name__} of torchao cannot be quantised again: it does not say all of its settings. Merge "
                "to floating point with merge(to=torch.bfloat16), or leave the adapter unmerged."
            )
        found: Tensor = quantised
        return found

    def hold(self, module: nn.Module) -> bool:
        """Refuse a weight through which no gradient passes; there is nothing to hold.

        Raises:
            FormatError: No gradient passes.
        """
        if not _passes_gradients(module._parameters["weight"]):
            raise FormatError(
                f"No gradient passes a {type(module._parameters['weight']).__name__} of torchao as it is set up here, "
                "so that no adapter below it would be trained: quantise the weights only, and not what they are "
                "multiplied by (Int8WeightOnlyConfig, Float8WeightOnlyConfig, IntxWeightOnlyConfig)."
            )
        return False


def _dequantised(module: nn.Module, weight: Any) -> Tensor:
    if not hasattr(weight, "dequantize"):
        raise FormatError(f"{type(weight).__name__} of torchao cannot be dequantised: load the model in another type.")
    value: Tensor = weight.dequantize()
    return value.detach()


def _granularity(weight: Any) -> Any:
    """What shares a scale, by the blocks of a weight."""
    library = import_module("torchao.quantization")
    rows, columns = weight.block_size
    if rows != 1:
        return library.PerTensor()
    return library.PerRow() if columns == weight.shape[1] else library.PerGroup(columns)


def _mapping(weight: Any) -> Any:
    library = import_module("torchao.quantization")
    shifted = weight.zero_point is not None and bool((weight.zero_point != 0).any())
    return library.MappingType.ASYMMETRIC if shifted else library.MappingType.SYMMETRIC


def _passes_gradients(weight: Any) -> bool:
    """Whether what a weight is multiplied by gets a gradient: tried once for each kind, on one row."""
    kind = (type(weight), weight.device.type, *(getattr(weight, name, None) is None for name in _OF_ACTIVATIONS))
    if kind not in _PASSES:
        x = torch.zeros(1, weight.shape[1], dtype=weight.dtype, device=weight.device, requires_grad=True)
        with torch.enable_grad():
            y = functional.linear(x, weight.detach())
        _PASSES[kind] = y.requires_grad
    return _PASSES[kind]


FORMAT = TorchaoFormat()
