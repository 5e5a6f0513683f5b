"""LoRA: low-rank adaptation of linear maps (Hu et al. 2021, arXiv:2106.09685)."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch import CheckpointError, Method, OutputAdapter, PeftFormat, Site, WeightDelta, matches_name


class LowRank(OutputAdapter):
    """``y' = y + scale B A dropout(x)``; A is (rank, in_features), B is (out_features, rank).

    A starts as the paper's code does (Kaiming uniform, a = sqrt(5): uniform within 1 / sqrt(in_features)) and B at
    zero, so the adapted model starts as the base.
    """

    def __init__(self, site: Site, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        bound = 1 / math.sqrt(site.in_features)
        self.lora_A = nn.Parameter(torch.empty(rank, site.in_features, device=site.device).uniform_(-bound, bound))
        self.lora_B = nn.Parameter(torch.zeros(site.out_features, rank, device=site.device))
        self.scale = scale
        self.dropout = dropout

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the low-rank path added; the parameters are cast to the dtype of ``x``."""
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        # At one token this takes as long as the base product itself, so it is kept to the fewest steps: three
        # operations, parameters without Module.__getattr__, and casts only where they change something.
        A: Any = self._parameters["lora_A"]
        B: Any = self._parameters["lora_B"]
        if A.dtype != x.dtype:
            A = A.to(x.dtype)
        low = functional.linear(x, A)
        if low.dtype != y.dtype:
            low = low.to(y.dtype)
        if B.dtype != y.dtype:
            B = B.to(y.dtype)
        return torch.add(y, functional.linear(low, B), alpha=self.scale)

    def delta(self) -> WeightDelta:
        """``scale B A``."""
        return WeightDelta(weight=self.scale * (self.lora_B @ self.lora_A))


class LoRAInPeft(PeftFormat):
    """LoRA as peft writes it."""

    peft_type = "LORA"
    tensors = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"}  # noqa: RUF012

    # Options of peft's that change the function, with the values under which they do not.
    plain_values: Mapping[str, tuple[Any, ...]] = {
        "bias": ("none",),
        "use_dora": (False, None),
        "lora_bias": (False, None),
        "layer_replication": (None,),
        "alora_invocation_tokens": (None,),
        "use_qalora": (False, None),
        "use_bdlora": (None,),
        "arrow_config": (None,),
        "kasa_config": (None,),
        "monteclora_config": (None,),
        "velora_config": (None,),
        "trainable_token_indices": (None,),
        "target_parameters": (None, []),
    }

    def config(self, method: Method, sites: Sequence[Site]) -> dict[str, Any]:
        """The entries of peft's ``LoraConfig``; patterns name each site that differs, from its first letter on."""
        assert isinstance(method, LoRA)
        ranks = {site.name: method.rank_at(site.name) for site in sites}
        alphas = {site.name: method.alpha_at(site.name) for site in sites}
        return {
            "r": method.rank,
            "lora_alpha": method.alpha,
            "lora_dropout": method.dropout,
            "use_rslora": method.rank_stabilised,
            "bias": "none",
            "fan_in_fan_out": False,
            "rank_pattern": {f"^{re.escape(name)}": rank for name, rank in ranks.items() if rank != method.rank},
            "alpha_pattern": {f"^{re.escape(name)}": alpha for name, alpha in alphas.items() if alpha != method.alpha},
        }

    def method(self, config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> "LoRA":
        """The settings; ranks are read off the tensors."""
        for option, plain in self.plain_values.items():
            if config.get(option, plain[0]) not in plain:
                raise CheckpointError(
                    f"The checkpoint uses peft's {option}={config[option]!r}, which the method lora does not have: "
                    "load it with peft."
                )
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        ranks = {site: tensors["lora_A"][0] for site, tensors in shapes.items() if "lora_A" in tensors}
        alphas = {site: _of_pattern(config.get("alpha_pattern") or {}, site, alpha) for site in shapes}
        return LoRA(
            targets=tuple(shapes),
            rank=rank,
            alpha=alpha,
            dropout=float(config.get("lora_dropout") or 0.0),
            rank_stabilised=bool(config.get("use_rslora")),
            rank_pattern={site: found for site, found in ranks.items() if found != rank},
            alpha_pattern={site: found for site, found in alphas.items() if found != alpha},
        )


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """h = W x + (alpha / rank) B A x, with A and B trained and W frozen.

    Hu et al. 2021, arXiv:2106.09685, equation 3. With ``rank_stabilised`` the factor is alpha / sqrt(rank), as in
    Kalajdzievski 2023, arXiv:2312.03732.

    Attributes:
        rank: Inner size of the low-rank product; at most the smaller side of the weight.
        alpha: Numerator of the scale.
        dropout: Probability of dropping a feature of ``x`` on the low-rank path, in training.
        rank_stabilised: Scale by alpha / sqrt(rank) instead of alpha / rank.
        rank_pattern: Ranks for the modules that a name or glob matches; the first match counts.
        alpha_pattern: Likewise for alpha.
    """

    name = "lora"
    peft = LoRAInPeft()

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    rank_stabilised: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.require(self.rank >= 1, "rank", "it must be at least 1")
        self.require(self.alpha > 0, "alpha", "it must be above 0")
        self.require(0 <= self.dropout < 1, "dropout", "it must be at least 0 and below 1")
        self.require(all(rank >= 1 for rank in self.rank_pattern.values()), "rank_pattern", "ranks must be at least 1")
        self.require(all(a > 0 for a in self.alpha_pattern.values()), "alpha_pattern", "alphas must be above 0")

    def build(self, site: Site) -> LowRank:
        """The low-rank path of one linear map."""
        rank = self.rank_at(site.name)
        largest = min(site.in_features, site.out_features)
        setting = "rank" if rank == self.rank else "rank_pattern"
        size = f"{site.out_features} x {site.in_features}"
        self.require(rank <= largest, setting, f"{site.name} is {size}, so a rank there is at most {largest}")
        scale = self.alpha_at(site.name) / (math.sqrt(rank) if self.rank_stabilised else rank)
        return LowRank(site, rank, scale, self.dropout)

    def rank_at(self, site: str) -> int:
        """The rank at one site."""
        return next((rank for glob, rank in self.rank_pattern.items() if matches_name(site, glob)), self.rank)

    def alpha_at(self, site: str) -> float:
        """Alpha at one site."""
        return next((alpha for glob, alpha in self.alpha_pattern.items() if matches_name(site, glob)), self.alpha)


def _of_pattern(pattern: Mapping[str, float], site: str, default: float) -> float:
    """The value that peft's pattern gives a module: the first key that matches a whole ending of its name."""
    return next((float(value) for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", site)), default)


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring LoRA."""
    register(LoRA)
