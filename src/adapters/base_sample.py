"""A few values of a weight, which tell it from another one: exact ones of floats, and of codes what they stand for."""

from collections.abc import Mapping
from math import gcd
from typing import Any

import torch
from torch import Tensor

from ..kernels import FourBit
from ..quant.quantised_linear import QuantisedWeight

SAMPLED_VALUES = 4

COARSEST = 0.2
"""More than half of the widest gap between the values of a format, as a share of the largest: 1/6, in FP4."""

_EXACT = 2**24
"""Integers up to which float32 holds every one."""


def values(parameter: Tensor) -> list[float]:
    """Values of a floating-point tensor, evenly spaced."""
    flat = parameter.detach().reshape(-1)
    return [float(value) for value in flat[_places(flat.numel()).to(flat.device)].double().tolist()]


@torch.no_grad()
def rounded_values(weight: QuantisedWeight, *, turned: bool = False) -> dict[str, list[float]]:
    """What ``values`` gave of the weight before it was quantised, and within what it may have been rounded.

    Only the rows that hold the values are dequantised.

    Args:
        weight: The weight.
        turned: Whether it was stored as (in_features, out_features), as that of a ``Conv1D`` is.
    """
    stored = weight.stored
    rows, width = stored.shape
    # As many rows as begin and end with whole blocks.
    period = stored.blocksize // gcd(width, stored.blocksize) if isinstance(stored, FourBit) else 1
    found: dict[str, list[float]] = {"values": [], "within": []}
    for place in _places(rows * width).tolist():
        row, column = reversed(divmod(place, rows)) if turned else divmod(place, width)
        start = row // period * period
        part = stored.rows(start, min(start + period, rows)).dequantise(torch.float32)
        found["values"].append(part[row - start, column].item())
        found["within"].append(COARSEST * part.abs().max().item())
    return found


def may_be_rounded(weight: QuantisedWeight, exact: list[float]) -> bool:
    """Whether a quantised weight may be what became of the weight of which ``values`` gave these."""
    ways = [rounded_values(weight, turned=turned) for turned in (False, True)]
    return any(_near(way["values"], exact, way["within"]) for way in ways)


def may_have_been(parameter: Tensor | QuantisedWeight, rounded: Mapping[str, Any]) -> bool:
    """Whether a weight may be the one, or the one before rounding, of which ``rounded_values`` gave these."""
    then, within = rounded["values"], rounded["within"]
    if isinstance(parameter, QuantisedWeight):
        now = rounded_values(parameter)
        return _near(now["values"], then, [sum(both) for both in zip(now["within"], within, strict=False)])
    ways = [parameter, parameter.T] if parameter.dim() == 2 else [parameter]
    return any(_near(values(way), then, within) for way in ways)


def _near(some: list[float], others: list[float], within: list[float]) -> bool:
    if not len(some) == len(others) == len(within):
        return False
    return all(abs(one - other) <= bound for one, other, bound in zip(some, others, within, strict=True))


def _places(count: int) -> Tensor:
    # Records that were made in float32 are read the same; of larger tensors it misses the last value.
    dtype = torch.float32 if count <= _EXACT else torch.float64
    return torch.linspace(0, count - 1, min(SAMPLED_VALUES, count), dtype=dtype).long()
