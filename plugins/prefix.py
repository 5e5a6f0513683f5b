"""Prefix-tuning: trained keys and values before the sequence (Li & Liang 2021, arXiv:2101.00190)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

import inarch
from inarch import AttentionAdapter, Method, Site, SiteAdapter

_SPREAD = 0.02
"""Standard deviation that keys and values start with where they are trained themselves."""


class Trunk(nn.Module):
    """``tanh(W E + b)``: the part of the reparametrisation that all layers share, shape (length, hidden).

    E is the small matrix P' of the paper, (length, hidden).
    """

    def __init__(self, length: int, hidden: int, device: torch.device) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(length, hidden, device=device))
        self.linear = nn.Linear(hidden, hidden, device=device)

    def forward(self) -> Tensor:
        """What every layer's head is given."""
        return torch.tanh(self.linear(self.embedding))


class PrefixOfLayer(AttentionAdapter):
    """``softmax(q [P_K; K]^T) [P_V; V]``; P_K is (length, key_features) and P_V is (length, value_features).

    They are parameters, or with a trunk ``[P_K, P_V] = W trunk + b`` (section 4.3) until the prefix is settled.

    Args:
        site: An attention.
        length: Number of keys.
        trunk: What all layers share.
        owns_trunk: Whether its parameters are counted and saved here; those of one layer do.
    """

    def __init__(self, site: Site, length: int, trunk: Trunk | None = None, *, owns_trunk: bool = False) -> None:
        super().__init__()
        assert site.attention is not None
        self.sizes = (site.attention.key_features, site.attention.value_features)
        self._shared = (trunk,) if trunk is not None else ()  # in a tuple it is no child of this module
        if trunk is None:
            keys, values = (_SPREAD * torch.randn(length, size, device=site.device) for size in self.sizes)
            self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)
        else:
            self.trunk = trunk if owns_trunk else None
            self.head = nn.Linear(trunk.linear.out_features, sum(self.sizes), device=site.device)

    def forward(self) -> tuple[Tensor, Tensor]:
        """The keys and the values."""
        if not self._shared:
            return self.keys, self.values
        weight = self.head.weight
        keys, values = self.head(self._shared[0]().to(weight)).split(self.sizes, dim=-1)
        return keys, values

    def computed(self) -> tuple[Tensor, Tensor]:
        """The keys and the values without a gradient."""
        with torch.no_grad():
            keys, values = self()
        return keys.detach().clone(), values.detach().clone()

    def settle(self, keys: Tensor, values: Tensor) -> None:
        """Hold these from now on, and let the reparametrisation go."""
        self._shared = ()
        del self.trunk, self.head
        self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(Method):
    """softmax(q [P_K; K]^T) [P_V; V] in every attention, with the keys P_K and the values P_V trained.

    Li & Liang 2021, arXiv:2101.00190, section 4. In training, a network computes all of them from a small matrix
    (section 4.3); once it is finished only they are left.

    Attributes:
        length: How many keys and values stand before the sequence.
        hidden: Width k of the network in training; 0 trains the keys and values themselves.
    """

    name = "prefix"
    accepts = ("attention",)
    # Li & Liang take 5e-5 with the network; the scripts of P-tuning v2 (arXiv:2110.07602) 5e-3 to 1e-2 without
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-3, 3e-3, 1e-2, 3e-2)}
    starts_from_base: ClassVar[bool] = False  # every query attends to the prefix, whatever its keys and values are

    targets: tuple[str, ...] = ("@attention",)
    length: int = 16
    hidden: int = 512

    def __post_init__(self) -> None:
        self.require(self.length >= 1, "length", "it must be at least 1")
        self.require(self.hidden >= 0, "hidden", "it must be at least 0")

    def sized(self, size: int) -> Self:
        """With another length."""
        return replace(self, length=size)

    def effective(self) -> Self:
        """Without the network: the keys and values themselves."""
        return replace(self, hidden=0)

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The prefixes of all layers; the first owns what they share."""
        trunk = Trunk(self.length, self.hidden, sites[0].device) if self.hidden and sites else None
        return {
            site.name: PrefixOfLayer(site, self.length, trunk, owns_trunk=place == 0)
            for place, site in enumerate(sites)
        }

    def finish(self, adapters: Mapping[str, SiteAdapter]) -> Self | None:
        """Keep the keys and values, and let the network go."""
        if not self.hidden:
            return None
        prefixes = [adapter for adapter in adapters.values() if isinstance(adapter, PrefixOfLayer)]
        for prefix, computed in [(prefix, prefix.computed()) for prefix in prefixes]:
            prefix.settle(*computed)
        return replace(self, hidden=0)


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring prefix-tuning."""
    register(PrefixTuning)
