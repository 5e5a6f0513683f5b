"""The format of HQQ (Badri and Shaji 2023, half-quadratic quantisation), as ``HQQLinear`` holds it.

The codes are the parameter ``W_q``; scales, zeros and shape are the entries of a dictionary beside it.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import FormatError
from .formats import DeclaredFormat, summed


class HqqFormat(DeclaredFormat):
    """``HQQLinear`` of one to eight bits."""

    tensor = "W_q"

    def dequantised(self, module: nn.Module) -> Tensor:
        """The weight in the dtype that the layer computes in.

        Raises:
            FormatError: The layer holds no weight yet.
        """
        layer: Any = module
        if not layer.ready:
            raise FormatError(f"This {type(module).__name__} is not quantised yet: load the model with transformers.")
        weight: Tensor = layer.dequantize()
        return weight.detach()

    def plus(self, module: nn.Module, weight: Tensor, delta: Tensor) -> nn.Module:
        """The sum, quantised again by the layer's own settings: its scales and zeros are searched for anew."""
        layer: Any = module
        settings = {**copy.deepcopy(layer.quant_config), "offload_meta": layer.offload_meta}
        with torch.random.fork_rng(devices=[]):  # it makes a layer only to throw its weight away
            found: nn.Module = type(layer).from_weights(
                summed(self.dequantised(module), delta), None, settings, layer.compute_dtype, layer.device
            )
        return found


def format_of(module: nn.Module) -> HqqFormat | None:
    """The format of a layer, if it is an ``HQQLinear``."""
    holds = "W_q" in module._parameters and hasattr(module, "meta") and hasattr(module, "quant_config")
    return FORMAT if holds else None


FORMAT = HqqFormat()
