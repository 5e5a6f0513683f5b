"""Compacter: bottlenecks of Kronecker products (Karimi Mahabadi et al. 2021, arXiv:2106.04647)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch import Method, OutputAdapter, Site, SiteAdapter

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class KroneckerBottleneck(OutputAdapter):
    """``y' = y + U act(D y + b_D) + b_U``; D, (size, features), and U, (features, size), are sums of products.

    Each is ``sum over i of A_i (x) (s_i t_i)``, with A of shape (n, n, n) shared by every D and U of the model, s of
    shape (n, rows / n, rank) and t of shape (n, rank, columns / n). Entries of D start with a variance of
    1 / features; s of U and both biases start at zero, so the adapted model starts as the base.

    Args:
        owner: The adapter that holds A; this one itself, if there is none yet.
    """

    def __init__(self, site: Site, size: int, method: "Compacter", owner: "KroneckerBottleneck | None") -> None:
        super().__init__()
        n, rank, features, device = method.n, method.rank, site.out_features, site.device
        if owner is None:
            self.rule = nn.Parameter(torch.randn(n, n, n, device=device) / math.sqrt(n))
        self.down_s = nn.Parameter(torch.randn(n, size // n, rank, device=device) / math.sqrt(rank))
        self.down_t = nn.Parameter(torch.randn(n, rank, features // n, device=device) / math.sqrt(features))
        self.down_bias = nn.Parameter(torch.zeros(size, device=device))
        self.up_s = nn.Parameter(torch.zeros(n, features // n, rank, device=device))
        self.up_t = nn.Parameter(torch.randn(n, rank, size // n, device=device) / math.sqrt(size))
        self.up_bias = nn.Parameter(torch.zeros(features, device=device))
        self.activation = method.activation
        self.features_first = site.feature_axis == 1
        self.owner = (owner or self,)  # in a tuple, so that it is not registered here too

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the network's change of it added; the parameters are cast to the dtype of ``y``."""
        h = y.movedim(1, -1) if self.features_first else y
        A = self.owner[0].rule.to(h.device, h.dtype)
        down = [tensor.to(h.dtype) for tensor in (self.down_s, self.down_t, self.down_bias)]
        up = [tensor.to(h.dtype) for tensor in (self.up_s, self.up_t, self.up_bias)]
        inner = _ACTIVATIONS[self.activation](kronecker_linear(h, A, *down))
        change = kronecker_linear(inner, A, *up)
        return y + (change.movedim(-1, 1) if self.features_first else change).to(y.dtype)


def kronecker_linear(x: Tensor, A: Tensor, s: Tensor, t: Tensor, bias: Tensor) -> Tensor:
    """``(sum over i of A_i (x) (s_i t_i)) x + bias``, without the large matrix: t, then A, then s.

    Args:
        x: Shape (..., columns).
        A: Shape (n, n, n).
        s: Shape (n, rows / n, rank).
        t: Shape (n, rank, columns / n).
        bias: Shape (rows,).
    """
    n, _, rank = s.shape
    inner = functional.linear(x.unflatten(-1, (n, -1)), t.flatten(0, 1)).unflatten(-1, (n, rank))
    mixed = torch.einsum("ipa,...air->...pir", A.to(inner.dtype), inner).flatten(-2)
    return functional.linear(mixed, s.transpose(0, 1).flatten(1)).flatten(-2) + bias


@dataclass(frozen=True, kw_only=True)
class Compacter(Method):
    """y' = y + U act(D y), with D and U sums of Kronecker products of shared and of low-rank matrices, at sublayers.

    Karimi Mahabadi et al. 2021, arXiv:2106.04647, equations 4 to 6. Compacter++ is
    ``targets=("@mlp.down",)``. The paper trains the norms too: add ``train=("*norm*",)`` to ``attach``.

    Attributes:
        n: Number of products in each sum, and the side of the shared matrices; it must divide the features.
        rank: Rank of the other factor of each product.
        reduction_factor: The features are divided by it, and rounded down to a multiple of n, n at least, for the
            bottleneck's size.
        bottleneck: The bottleneck's size, if it is not to follow from ``reduction_factor``; a multiple of n.
        activation: Between D and U.
    """

    name = "compacter"
    accepts = ("linear", "convolution", "experts")
    otherwise = ("@sublayer.output", "@linear", "@convolution")

    targets: tuple[str, ...] = ("@attention.output", "@mlp.down")
    n: int = 4
    rank: int = 1
    reduction_factor: int = 32
    bottleneck: int | None = None
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"

    def __post_init__(self) -> None:
        for setting in ("n", "rank", "reduction_factor"):
            self.require(getattr(self, setting) >= 1, setting, "it must be at least 1")
        if self.bottleneck is not None:
            fits = self.bottleneck >= 1 and self.bottleneck % self.n == 0
            self.require(fits, "bottleneck", f"it must be a multiple of n, which is {self.n}")

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The bottlenecks; the first holds the matrices that all share."""
        built: dict[str, SiteAdapter] = {}
        owner: KroneckerBottleneck | None = None
        for site in self._placed(sites):
            features = site.out_features
            self.require(features % self.n == 0, "n", f"{site.name} has {features} features, and it must divide them")
            adapter = KroneckerBottleneck(site, self.size(features), self, owner)
            owner = owner or adapter
            built[site.name] = adapter
        return built

    def sized(self, size: int) -> Self:
        """With another bottleneck, the same one everywhere: ``size`` times ``n``, of which it must be a multiple."""
        return replace(self, bottleneck=size * self.n)

    def _placed(self, sites: Sequence[Site]) -> Sequence[Site]:
        """Of the sites that the default targets found, the ends of sublayers."""
        if self.targets != type(self).targets:
            return sites
        for roles in ({"attention.output", "mlp.down"}, {"sublayer.output"}):
            found = [site for site in sites if not roles.isdisjoint(site.roles)]
            if found:
                return found
        return sites

    def size(self, features: int) -> int:
        """The size of a bottleneck."""
        return self.bottleneck or max(1, features // self.reduction_factor // self.n) * self.n


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring Compacter."""
    register(Compacter)
