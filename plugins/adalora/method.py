"""The method: its settings, its penalty, and what it does after each step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from inarch import ConfigError, Method, Site, SiteAdapter, Step, matches_name

from .importance import kept, measure
from .peft_format import AdaLoRAInPeft
from .schedule import Schedule
from .triplets import ConvolutionTriplets, Triplets

INITIAL_SHARE = 0.1
FINAL_SHARE = 0.3
"""Shares of the steps that the warm-ups take where they are not given."""
PADDING = 1e-5
"""What the authors' code, and peft's, add to the rank that the scale is divided by."""


@dataclass(frozen=True, kw_only=True)
class AdaLoRA(Method):
    """h = W x + (alpha / initial_rank) P Lambda Q x, with the rank of each update chosen in training.

    Each update is a sum of triplets: a singular value in Lambda, a column of P and a row of Q. All start with
    ``initial_rank``; then the singular values of the least important triplets of the whole model are set to zero, more
    and more of them, until ``target_rank`` a module are left on average. At the last step the pruned ones are removed,
    and ``rank_pattern`` says what is left. A penalty ``orthogonality`` times the mean over all P and Q of
    ``||P^T P - I||`` and ``||Q Q^T - I||`` (Frobenius norms, as in the authors' code; the paper writes the sum of their
    squares) keeps the vectors orthogonal; it is no part of the reported loss.

    Zhang et al. 2023, arXiv:2303.10512, with https://github.com/QingruZhang/AdaLoRA where the paper leaves it open.

    Attributes:
        initial_rank: Rank of every update at the start; at most the smaller side of the weight.
        target_rank: Mean rank in the end.
        alpha: Numerator of the scale. Its denominator stays the initial rank, whatever ranks are chosen.
        dropout: Probability of dropping a feature of ``x`` on the low-rank path, in training.
        steps: Optimizer steps of the whole training; ``inarch train`` fills it in.
        initial_warmup: Steps before the first pruning; a tenth of them by default.
        final_warmup: Steps at the end with the target's ranks; three tenths of them by default.
        interval: Steps from one pruning to the next.
        beta1: How much of the average sensitivity a step keeps.
        beta2: How much of the average uncertainty a step keeps.
        orthogonality: Weight of the penalty; the paper's gamma.
        rank_pattern: Ranks by the names of modules, once they are chosen: nothing is pruned any more.
    """

    name = "adalora"
    accepts = ("linear", "convolution")
    otherwise = ("@convolution",)
    peft = AdaLoRAInPeft()

    initial_rank: int = 12
    target_rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    steps: int | None = None
    initial_warmup: int | None = None
    final_warmup: int | None = None
    interval: int = 10
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonality: float = 0.1
    rank_pattern: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        self.require(self.initial_rank >= 1, "initial_rank", "it must be at least 1")
        fits = 1 <= self.target_rank <= self.initial_rank
        self.require(fits, "target_rank", f"it must be at least 1 and at most the initial rank, {self.initial_rank}")
        self.require(self.alpha > 0, "alpha", "it must be above 0")
        self.require(0 <= self.dropout < 1, "dropout", "it must be at least 0 and below 1")
        self.require(self.steps is None or self.steps >= 1, "steps", "it must be at least 1")
        for name in ("initial_warmup", "final_warmup"):
            self.require((getattr(self, name) or 0) >= 0, name, "it must be at least 0")
        self.require(self.interval >= 1, "interval", "it must be at least 1")
        self.require(0 < self.beta1 < 1, "beta1", "it must be above 0 and below 1")
        self.require(0 < self.beta2 < 1, "beta2", "it must be above 0 and below 1")
        self.require(self.orthogonality >= 0, "orthogonality", "it must be at least 0")
        ranks = (self.rank_pattern or {}).values()
        in_range = all(0 <= rank <= self.initial_rank for rank in ranks)
        self.require(in_range, "rank_pattern", f"ranks must be at least 0 and at most {self.initial_rank}")
        if self.steps is not None and self.rank_pattern is None:
            schedule = self.schedule(self.steps, sites=1)
            self.require(
                max(1, schedule.initial_warmup) < schedule.settled,
                "steps",
                f"the warm-ups take {schedule.initial_warmup} and {schedule.final_warmup} of them, and none is left "
                "to choose the ranks in: train longer, or set initial_warmup and final_warmup lower",
            )

    def build(self, site: Site) -> Triplets:
        """The triplets of one linear map or convolution."""
        kind: type[Triplets] = Triplets
        if site.kind == "convolution":
            kind_of = type(site.module).__name__
            self.require(
                site.is_plain_convolution,
                "targets",
                f"{site.name} is a {kind_of}, transposed or computed in a way of its own, which adalora cannot adapt",
            )
            kind = ConvolutionTriplets
        largest = min(kind.inputs(site), site.out_features)
        size = f"{site.out_features} x {kind.inputs(site)}"
        self.require(
            self.initial_rank <= largest, "initial_rank", f"{site.name} is {size}, so a rank there is at most {largest}"
        )
        rank = self.initial_rank if self.rank_pattern is None else self.rank_pattern.get(site.name, self.initial_rank)
        scale = self.alpha / (self.initial_rank + PADDING)
        return kind(site, rank, scale, self.dropout, averages=self.rank_pattern is None)

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The adapters by site name; what a role has found and is smaller than the rank is left out, unless all is."""
        named = [target for target in self.targets if not target.startswith("@")]
        chosen = [
            site
            for site in sites
            if self._largest_rank(site) >= self.initial_rank or any(matches_name(site.name, glob) for glob in named)
        ]
        return {site.name: self.build(site) for site in chosen or sites}

    def _largest_rank(self, site: Site) -> int:
        """The most triplets that one site can have; none where adalora cannot adapt it."""
        if site.kind != "convolution":
            return min(site.in_features, site.out_features)
        return min(ConvolutionTriplets.inputs(site), site.out_features) if site.is_plain_convolution else 0

    def sized(self, size: int) -> Self:
        """With another target rank; the initial rank keeps its ratio to it, rounded up, and the scale stays.

        Ranks that were chosen are those of another size, and are forgotten.
        """
        initial = -(-size * self.initial_rank // self.target_rank)
        alpha = self.alpha * initial / self.initial_rank
        return replace(self, target_rank=size, initial_rank=initial, alpha=alpha, rank_pattern=None)

    def effective(self) -> Self:
        """With the target rank from the start; the ranks of modules are as many in all, wherever they end up."""
        return replace(self, initial_rank=self.target_rank) if self.rank_pattern is None else self

    def for_steps(self, steps: int) -> Self:
        """This method for a run of ``steps`` optimizer steps."""
        return replace(self, steps=steps) if self.steps is None and self.rank_pattern is None else self

    def schedule(self, steps: int, sites: int) -> Schedule:
        """The budget schedule of a training of ``steps`` steps with so many sites."""
        initial = round(INITIAL_SHARE * steps) if self.initial_warmup is None else self.initial_warmup
        final = round(FINAL_SHARE * steps) if self.final_warmup is None else self.final_warmup
        return Schedule(self.initial_rank * sites, self.target_rank * sites, steps, initial, final, self.interval)

    def penalty(self, adapters: Mapping[str, SiteAdapter]) -> Tensor | None:
        """The penalty on P and Q that are not orthogonal.

        Raises:
            ConfigError: It was not told how long the training is.
        """
        self._steps()
        sites = _triplets(adapters)
        if not self.orthogonality or not sites:
            return None
        return self.orthogonality * torch.cat(_distances(sites)).mean()

    def after_step(self, adapters: Mapping[str, SiteAdapter], step: Step) -> Self | None:
        """Measure importance and prune; at the last step remove what was pruned.

        Returns:
            After the last step the method with the chosen ranks.
        """
        steps, sites = self._steps(), _triplets(adapters)
        if steps is None:
            return None
        schedule = self.schedule(steps, len(sites))
        if step.number < schedule.settled:
            measure(sites, self.beta1, self.beta2)
        if not schedule.prunes(step.number):
            return None
        chosen = kept(sites, schedule.budget(step.number))
        for site, keep in zip(sites, chosen, strict=True):
            site.Lambda.masked_fill_(~keep.unsqueeze(1), 0.0)
        if step.number < steps:
            return None
        for site, keep in zip(sites, chosen, strict=True):
            _remove(site, keep, step)
        return replace(self, rank_pattern={name: site.rank for name, site in zip(adapters, sites, strict=True)})

    def _steps(self) -> int | None:
        """The length of the training; ``None`` once the ranks are chosen."""
        if self.rank_pattern is not None:
            return None
        if self.steps is None:
            raise ConfigError(
                "adalora.steps is None: its schedule needs the number of optimizer steps of the whole training. Give "
                'it when attaching, as in inarch.attach(model, "adalora", steps=1000).'
            )
        return self.steps


def _triplets(adapters: Mapping[str, SiteAdapter]) -> Sequence[Triplets]:
    return [adapter for adapter in adapters.values() if isinstance(adapter, Triplets)]


def _distances(sites: Sequence[Triplets]) -> list[Tensor]:
    """The norms of ``P^T P - I`` and of ``Q Q^T - I``, for all sites of one rank at once."""
    device = sites[0].P.device
    by_rank: dict[int, list[Tensor]] = {}
    for site in sites:
        by_rank.setdefault(site.rank, []).extend([(site.P.T @ site.P).to(device), (site.Q @ site.Q.T).to(device)])
    stacks = [
        (torch.stack(grams), torch.eye(rank, device=device, dtype=grams[0].dtype)) for rank, grams in by_rank.items()
    ]
    return [torch.linalg.vector_norm(grams - identity, dim=(1, 2)) for grams, identity in stacks]


def _remove(site: Triplets, keep: Tensor, step: Step) -> None:
    left = keep.nonzero().squeeze(1)
    step.keep(site.P, left, 1)
    step.keep(site.Lambda, left, 0)
    step.keep(site.Q, left, 0)
    site.drop_averages()
