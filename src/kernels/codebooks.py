"""The values that the codes of a quantised weight stand for."""

import torch
from torch import Tensor

NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""NormalFloat: quantiles of the normal distribution, scaled to [-1, 1] (arXiv:2305.14314, appendix E)."""

_FP4 = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
"""A sign, two bits of exponent and one of mantissa, scaled to [-1, 1], as bitsandbytes orders them."""

CODEBOOKS = {
    "nf4": torch.tensor(NF4),
    "fp4": torch.tensor([*_FP4, *(-value for value in _FP4)]),
}
"""The sixteen values by the name of the format, float32; the code is the index."""


def _dynamic() -> Tensor:
    """A sign, a run of zeros as decimal exponent, and the rest of the eight bits a linear fraction (arXiv:1511.04561).

    With i bits of fraction there are 2^i values, the middles of equal parts of [0.1, 1], times 10^(i - 6); then 0
    and 1.
    """
    values = [0.0, 1.0]
    for bits in range(7):
        edges = torch.linspace(0.1, 1, 2**bits + 1)
        middles = (edges[:-1] + edges[1:]) / 2
        values += (10 ** (bits - 6) * middles).tolist() + (-(10 ** (bits - 6)) * middles).tolist()
    return torch.tensor(sorted(values))


DYNAMIC = _dynamic()
"""The 256 values of the scales of a doubly quantised weight, float32, ascending."""
