"""LoReFT: low-rank linear subspace representation finetuning (Wu et al. 2024, arXiv:2404.03592)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch import Method, OutputAdapter, Site, SiteAdapter


class Intervention(OutputAdapter):
    """``h' = h + R^T (W h + b - R h)`` at some positions; R and W are (rank, features), b is (rank,).

    The rows of R are orthonormal whatever an optimizer makes of the trained ``rotation``: they are its rows after Gram
    and Schmidt. W starts at R and b at zero, so the adapted model starts as the base (in the paper W starts random).
    """

    def __init__(self, site: Site, rank: int, first: int, last: int) -> None:
        super().__init__()
        options: Any = {"device": site.device, "dtype": site.dtype}
        self.rotation = nn.Parameter(orthonormal(torch.randn(rank, site.out_features, **options)))
        self.weight = nn.Parameter(orthonormal(self.rotation.detach()).clone())
        self.bias = nn.Parameter(torch.zeros(rank, **options))
        self.first = first
        self.last = last
        self.features_first = site.feature_axis == 1

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The hidden states, shape (..., positions, features), changed at the chosen positions."""
        if self.features_first:
            return self._changed(y.movedim(1, -1)).movedim(-1, 1)
        chosen, length = self.first + self.last, y.shape[-2]
        if chosen and length == 1:
            return y
        if not chosen or chosen >= length:
            return self._changed(y)
        start, middle, end = y.split([self.first, length - chosen, self.last], dim=-2)
        start, end = self._changed(torch.cat([start, end], -2)).split([self.first, self.last], dim=-2)
        return torch.cat([start, middle, end], -2)

    def _changed(self, h: Tensor) -> Tensor:
        R = orthonormal(self.rotation)
        change = functional.linear(h, (self.weight - R).to(h.dtype), self.bias.to(h.dtype))
        return h + functional.linear(change, R.T.to(change.dtype)).to(h.dtype)


def orthonormal(rows: Tensor) -> Tensor:
    """The rows of a matrix after Gram and Schmidt: the span of the first k stays, and none is turned around.

    A QR decomposition finds them up to their signs, which are those of the triangular factor's diagonal.
    """
    precise = rows if rows.dtype == torch.float64 else rows.float()  # there is no QR in half precision
    Q, triangular = torch.linalg.qr(precise.T)
    signs = torch.where(triangular.diagonal() < 0, -1.0, 1.0).to(Q.dtype)
    found: Tensor = (Q * signs).T.to(rows.dtype)
    return found


@dataclass(frozen=True, kw_only=True)
class LoReFT(Method):
    """h' = h + R^T (W h + b - R h), with R, W and b trained and the model frozen, on the hidden states after blocks.

    Wu et al. 2024, arXiv:2404.03592, equation 2. The first and the last positions share one R, W and b. A hook knows no
    mask: positions count from the ends of the padded sequence, so pad where it does not matter. With ``first`` or
    ``last`` the prompt alone is changed, as in the paper: a call with one position is taken for a step of generation
    and left as it is. Without both, every position is changed, in generation too.

    Attributes:
        rank: Dimension of the subspace.
        first: How many positions at the start are changed; the paper's f7+l7 is ``first=7, last=7``.
        last: How many at the end; with 0 for both, all positions.
        layers: Numbers of the blocks to change, as in their names (``layers.3`` is 3); all if empty.
    """

    name = "loreft"
    accepts = ("block",)

    targets: tuple[str, ...] = ("@block",)
    rank: int = 4
    first: int = 0
    last: int = 0
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.require(self.rank >= 1, "rank", "it must be at least 1")
        self.require(self.first >= 0, "first", "it must be at least 0")
        self.require(self.last >= 0, "last", "it must be at least 0")

    def sized(self, size: int) -> Self:
        """With another rank."""
        return replace(self, rank=size)

    def build(self, site: Site) -> Intervention:
        """The intervention after one block."""
        largest = site.out_features
        self.require(self.rank <= largest, "rank", f"{site.name} has {largest} features, so a rank is at most that")
        for setting in ("first", "last"):
            in_a_row = site.feature_axis == -1 or not getattr(self, setting)
            self.require(in_a_row, setting, f"{site.name} gives an image, whose positions have no first and last")
        return Intervention(site, self.rank, self.first, self.last)

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The interventions after the chosen blocks."""
        numbers = {site.name: _number(site.name) for site in sites}
        missing = sorted(set(self.layers) - set(numbers.values()))
        self.require(not missing, "layers", f"no block has the number {', '.join(map(str, missing))}")
        return {site.name: self.build(site) for site in sites if not self.layers or numbers[site.name] in self.layers}


def _number(name: str) -> int:
    """The last number in a dotted name; -1 if there is none."""
    return next((int(word) for word in reversed(name.split(".")) if word.isdigit()), -1)


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring LoReFT."""
    register(LoReFT)
