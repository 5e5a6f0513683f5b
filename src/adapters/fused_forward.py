"""A forward that computes a linear map together with its adapters, in one product."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..quant import Factors, weight_format
from ..quant.operand import Floating
from ..quant.product import linear, merges
from .module_hooks import run_output_adapters
from .output_adapter import OutputAdapter
from .slot import Slot, slot_of


class FusedForward:
    """Stands in for the ``forward`` of one linear map, as an attribute of that module.

    Where every adapter that takes part is given by thin matrices, base and adapters are one product
    (``quant/product.py``); else the module's own forward runs, and the adapters after it, as they do without.

    Args:
        module: The linear map.
        fp8: Whether a base in four bits is multiplied in eight bits of floating point.
    """

    def __init__(self, module: nn.Module, *, fp8: bool = False) -> None:
        self.module = module
        self.fp8 = fp8

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the module and its adapters."""
        module = self.module
        slot = slot_of(module)
        switches = {} if slot is None else slot.switches.get("output", {})
        if len(args) == 1 and not kwargs and not torch.compiler.is_compiling():
            y = self._fused(args[0], slot)
            if y is not None:
                return y
        output = type(module).forward(module, *args, **kwargs)
        return run_output_adapters(module, args, kwargs, output) if switches else output

    def _fused(self, x: Tensor, slot: Slot | None) -> Tensor | None:
        """The output by one product; ``None`` where it cannot be, or would not be faster."""
        weight = self.module._parameters.get("weight")
        if (weight is not None and weight.requires_grad) or (slot is not None and slot.rows is not None):
            return None
        found = [] if slot is None else _factors(slot)
        if found is None:
            return None
        operand = weight_format(self.module).operand(self.module)
        plain = not torch.is_grad_enabled() and not merges(x, operand)
        if plain or (not found and isinstance(operand, Floating)):
            return None
        bias: Any = self.module.bias
        return linear(x, operand, bias, _together(found), fp8=self.fp8)


def _factors(slot: Slot) -> list[Factors] | None:
    """The thin matrices of every adapter that takes part; ``None`` where one is not given by some."""
    found = []
    for name, switch in slot.switches.get("output", {}).items():
        if not switch.on:
            continue
        adapter = slot._modules[name]
        factors = adapter.factors() if isinstance(adapter, OutputAdapter) else None
        if factors is None or (factors.magnitude is not None and switch.weight != 1.0):
            return None
        found.append(factors if switch.weight == 1.0 else replace(factors, scale=factors.scale * switch.weight))
    alone = any(factors.dropout or factors.magnitude is not None for factors in found)
    return None if alone and len(found) > 1 else found


def _together(found: list[Factors]) -> Factors | None:
    """Several low-rank changes as one."""
    if len(found) < 2:
        return found[0] if found else None
    B = torch.cat([factors.B * factors.scale for factors in found], dim=1)
    return Factors(B, torch.cat([factors.A for factors in found]))
