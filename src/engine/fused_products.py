"""Base and adapters in one product, at every linear map that is stored in few bits or has adapters."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..adapters.module_seam import can_fuse, fuse, separate
from ..adapters.slot import slot_of
from ..quant import has_weight_format, is_plain, weight_format
from ..quant.buffers import BUFFERS
from ..quant.operand import Floating
from .feature import Declined, Feature


class FusedProducts(Feature):
    """Computes linear maps by ``quant/product.py``; see there for what that saves.

    Args:
        fp8: Whether to multiply maps in four bits in eight bits of floating point (e4m3) in the forward pass.
    """

    name = "fused products"

    def __init__(self, *, fp8: bool = False) -> None:
        self._fp8 = fp8
        self._fused: list[nn.Module] = []

    def start(self, model: nn.Module, batch: Mapping[str, Any]) -> str:
        """Begin at every map that it is of use for."""
        self._fused = [module for module in model.modules() if _gains(module)]
        if not self._fused:
            raise Declined("no linear map has adapters or is stored in few bits")
        for module in self._fused:
            fuse(module, fp8=self._fp8)
        return f"{len(self._fused)} linear maps" + (", those in four bits multiplied in fp8" if self._fp8 else "")

    def stop(self, model: nn.Module) -> None:
        """Give every map its own forward back."""
        for module in self._fused:
            separate(module)
        self._fused.clear()
        BUFFERS.clear()


def _gains(module: nn.Module) -> bool:
    """Whether ``module`` is a linear map that would be computed otherwise."""
    if not has_weight_format(module) or not is_plain(module) or not can_fuse(module):
        return False
    weight = module._parameters.get("weight")
    slot = slot_of(module)
    adapted = slot is not None and "output" in slot.switches
    return adapted or (weight is not None and not isinstance(weight_format(module).operand(module), Floating))
