"""The method LoRA with its settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

from inarch import Method, Site, SiteAdapter, matches_name

from .convolution import ConvolutionLowRank
from .dora import MagnitudeConvolution, MagnitudeLowRank
from .experts import ExpertLowRank
from .low_rank import LowRank
from .peft_format import LoRAInPeft
from .pissa import PrincipalConvolution, PrincipalLowRank

_PATHS: dict[tuple[str, bool, str], type[LowRank] | type[ConvolutionLowRank]] = {
    ("linear", False, "default"): LowRank,
    ("linear", True, "default"): MagnitudeLowRank,
    ("linear", False, "pissa"): PrincipalLowRank,
    ("convolution", False, "default"): ConvolutionLowRank,
    ("convolution", True, "default"): MagnitudeConvolution,
    ("convolution", False, "pissa"): PrincipalConvolution,
}
"""The class by the kind of the site, ``dora`` and ``initialisation``."""


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """h = W x + (alpha / rank) B A x, with A and B trained and W frozen.

    Hu et al. 2021, arXiv:2106.09685, equation 3. With ``rank_stabilised`` the factor is alpha / sqrt(rank), as in
    Kalajdzievski 2023, arXiv:2312.03732; with ``dora`` the result is DoRA, arXiv:2402.09353; with ``initialisation``
    ``pissa`` it is PiSSA, arXiv:2404.02948; with a ``learning_rate_ratio`` it is LoRA+, arXiv:2402.12354.

    W is a linear map, a convolution, or each expert's projection in fused experts.

    Attributes:
        rank: Inner size of the low-rank product; at most the smaller side of the weight.
        alpha: Numerator of the scale.
        dropout: Probability of dropping a feature of ``x`` on the low-rank path, in training.
        rank_stabilised: Scale by alpha / sqrt(rank) instead of alpha / rank.
        rank_pattern: Ranks for the modules that a name or glob matches; the first match counts.
        alpha_pattern: Likewise for alpha.
        dora: Train the magnitude of each output's weights apart from their direction. Not on fused experts.
        initialisation: How A and B start: ``default`` as in the paper of LoRA, so that B A is zero; ``pissa`` at the
            largest singular values of W, which are taken from W. Not on fused experts, and not with ``dora``.
        learning_rate_ratio: What the learning rate of B is, as a multiple of A's; LoRA+ suggests about 16.
    """

    name = "lora"
    accepts = ("linear", "experts", "convolution")
    otherwise = ("@convolution",)
    peft = LoRAInPeft()
    # around the 2e-4 to 5e-4 of the paper's tables 9 and 11, to where smaller models and ranks go
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3)}

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    rank_stabilised: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    dora: bool = False
    initialisation: Literal["default", "pissa"] = "default"
    learning_rate_ratio: float = 1.0

    def __post_init__(self) -> None:
        self.require(self.rank >= 1, "rank", "it must be at least 1")
        self.require(self.alpha > 0, "alpha", "it must be above 0")
        self.require(0 <= self.dropout < 1, "dropout", "it must be at least 0 and below 1")
        self.require(all(rank >= 1 for rank in self.rank_pattern.values()), "rank_pattern", "ranks must be at least 1")
        self.require(all(a > 0 for a in self.alpha_pattern.values()), "alpha_pattern", "alphas must be above 0")
        self.require(self.initialisation in ("default", "pissa"), "initialisation", "it must be default or pissa")
        self.require(not (self.dora and self.initialisation == "pissa"), "dora", "pissa is not combined with it")
        self.require(self.learning_rate_ratio > 0, "learning_rate_ratio", "it must be above 0")

    def build(self, site: Site) -> SiteAdapter:
        """The low-rank path of one linear map or convolution, or the paths of fused experts."""
        obstacle = self.obstacle(site)
        self.require(not obstacle, "targets", obstacle)
        if site.experts:
            return self._build_experts(site)
        path = _PATHS[site.kind, self.dora, self.initialisation]
        return path(site, self._fitting_rank(site, *_sizes(site)[0]), self.scale_at(site.name), self.dropout)

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The adapters by site name; what a role has found and LoRA cannot adapt is left out, unless that is all.

        Maps that are smaller than the rank are left out likewise, such as the gate of a shared expert, of one output.
        """
        chosen = [site for site in sites if self._names(site) or not (self.obstacle(site) or self._is_small(site))]
        return {site.name: self.build(site) for site in chosen or sites}

    def obstacle(self, site: Site) -> str:
        """Why a site of a kind that LoRA adapts cannot be adapted as these settings say; empty if it can."""
        if site.kind == "convolution" and not site.is_plain_convolution:
            return (
                f"{site.name} is a {type(site.module).__name__}, transposed or computed in a way of its own, which has "
                "no low-rank path"
            )
        if site.experts and (self.dora or self.initialisation == "pissa"):
            return f"{site.name} is fused experts, which have neither dora nor pissa"
        return ""

    def learning_rate_factor(self, tensor: str) -> float:
        """``learning_rate_ratio`` for B."""
        return self.learning_rate_ratio if tensor.rsplit(".", 1)[-1] == "lora_B" else 1.0

    def sized(self, size: int) -> Self:
        """With another rank and the same scale; the ranks of ``rank_pattern`` keep their ratio to it."""
        growth = size / self.rank
        gain = math.sqrt(growth) if self.rank_stabilised else growth
        return replace(
            self,
            rank=size,
            alpha=self.alpha * gain,
            rank_pattern={glob: max(1, round(rank * growth)) for glob, rank in self.rank_pattern.items()},
            alpha_pattern={glob: alpha * gain for glob, alpha in self.alpha_pattern.items()},
        )

    def rank_at(self, site: str) -> int:
        """The rank at one site."""
        return next((rank for glob, rank in self.rank_pattern.items() if matches_name(site, glob)), self.rank)

    def alpha_at(self, site: str) -> float:
        """Alpha at one site."""
        return next((alpha for glob, alpha in self.alpha_pattern.items() if matches_name(site, glob)), self.alpha)

    def scale_at(self, site: str) -> float:
        """What the low-rank product is multiplied by at one site."""
        rank = self.rank_at(site)
        return self.alpha_at(site) / (math.sqrt(rank) if self.rank_stabilised else rank)

    def _build_experts(self, site: Site) -> ExpertLowRank:
        assert site.experts is not None
        adapter = None
        for name in (name for name in site.module._parameters if name in site.experts.projections):
            rank = self._fitting_rank(site, *site.experts.projections[name])
            adapter = ExpertLowRank(site, name, rank, self.scale_at(site.name), self.dropout, adapter)
        assert adapter is not None
        return adapter

    def _fitting_rank(self, site: Site, in_features: int, out_features: int) -> int:
        rank = self.rank_at(site.name)
        largest = min(in_features, out_features)
        setting = "rank" if rank == self.rank else "rank_pattern"
        size = f"{out_features} x {in_features}"
        self.require(rank <= largest, setting, f"{site.name} is {size}, so a rank there is at most {largest}")
        return rank

    def _is_small(self, site: Site) -> bool:
        return any(self.rank_at(site.name) > min(sizes) for sizes in _sizes(site))

    def _names(self, site: Site) -> bool:
        """Whether a target or a pattern names the site itself, rather than a role of it."""
        names = (name for name in (*self.targets, *self.rank_pattern) if not name.startswith("@"))
        return any(matches_name(site.name, name) for name in names)


def _sizes(site: Site) -> list[tuple[int, int]]:
    """The inputs and outputs of the matrices at a site; of a convolution, what one output channel sees as inputs."""
    if site.experts:
        return list(site.experts.projections.values())
    module: Any = site.module
    inputs = math.prod(module.weight.shape[1:]) if site.kind == "convolution" else site.in_features
    return [(inputs, site.out_features)]
