"""VeRA: vector-based random matrix adaptation (Kopiczko et al. 2023, arXiv:2310.11454)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch import CheckpointError, Factors, Method, OutputAdapter, PeftFormat, Site, SiteAdapter, WeightDelta


class Projections:
    """The frozen random A, (rank, in_features), and B, (out_features, rank), that all sites share.

    Both are Kaiming uniform, drawn on the CPU from a seed as peft draws them, and kept once a device for all sites and
    all copies of the model. They are in no checkpoint and no pickle.
    """

    def __init__(self, seed: int, rank: int, in_features: int, out_features: int) -> None:
        self.recipe = (seed, rank, in_features, out_features)
        self._drawn: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """A and B in float32 on a device."""
        if device not in self._drawn:
            seed, rank, in_features, out_features = self.recipe
            generator = torch.Generator().manual_seed(seed)
            A = _kaiming_uniform(rank, in_features, generator)
            B = _kaiming_uniform(out_features, rank, generator)
            self._drawn[device] = (A.to(device), B.to(device))
        return self._drawn[device]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type["Projections"], tuple[int, ...]]:
        return Projections, self.recipe


def _kaiming_uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    bound = math.sqrt(3.0) * (math.sqrt(2) / math.sqrt(columns))
    return torch.empty(rows, columns, device="cpu").uniform_(-bound, bound, generator=generator)


class ScaledProjections(OutputAdapter):
    """``y' = y + b * B (d * A dropout(x))``; b is (out_features,), d is (rank,), A and B are frozen and shared.

    d starts at ``d_initial`` and b at zero, so the adapted model starts as the base. A site with fewer features
    than the largest uses the first columns of A and the first rows of B.
    """

    def __init__(self, site: Site, projections: Projections, d_initial: float, dropout: float) -> None:
        super().__init__()
        rank = projections.recipe[1]
        self.vera_lambda_d = nn.Parameter(torch.full((rank,), d_initial, device=site.device))
        self.vera_lambda_b = nn.Parameter(torch.zeros(site.out_features, device=site.device))
        self.projections = projections
        self.features = (site.in_features, site.out_features)
        self.dropout = dropout
        self._draw()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The base output with the scaled random path added, computed in the dtype of ``x``."""
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        A, B = (matrix.to(x.dtype) for matrix in self._matrices(x.device))
        low = functional.linear(x, A) * self.vera_lambda_d.to(x.dtype)
        return y + (functional.linear(low, B.to(low.dtype)) * self.vera_lambda_b.to(x.dtype)).to(y.dtype)

    def factors(self) -> Factors:
        """``diag(b) B`` and ``diag(d) A``."""
        A, B = self._matrices(self.vera_lambda_d.device)
        dropout = self.dropout if self.training else 0.0
        return Factors(self.vera_lambda_b[:, None] * B, self.vera_lambda_d[:, None] * A, dropout=dropout)

    def delta(self) -> WeightDelta:
        """``diag(b) B diag(d) A``."""
        d, b = self.vera_lambda_d, self.vera_lambda_b
        A, B = (matrix.to(d.dtype) for matrix in self._matrices(d.device))
        return WeightDelta((b[:, None] * B) @ (d[:, None] * A))

    def _matrices(self, device: torch.device) -> tuple[Tensor, Tensor]:
        A, B = self.projections.on(device)
        in_features, out_features = self.features
        return A[:, :in_features], B[:out_features]

    def _draw(self) -> None:
        """Have A and B drawn before a forward pass, which a compiler may be tracing, asks for them."""
        if not self.vera_lambda_d.is_meta:
            self.projections.on(self.vera_lambda_d.device)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._draw()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._draw()


class VeRAInPeft(PeftFormat):
    """VeRA as peft writes it without its projections."""

    peft_type = "VERA"
    tensors = {"vera_lambda_d": "vera_lambda_d", "vera_lambda_b": "vera_lambda_b"}  # noqa: RUF012

    def config(self, method: Method, sites: Sequence[Site]) -> dict[str, Any]:
        """The entries of peft's ``VeraConfig``."""
        assert isinstance(method, VeRA)
        return {
            "r": method.rank,
            "projection_prng_key": method.seed,
            "save_projection": False,
            "d_initial": method.d_initial,
            "vera_dropout": method.dropout,
            "bias": "none",
            "fan_in_fan_out": False,
        }

    def method(self, config: Mapping[str, Any], shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> "VeRA":
        """The settings; the projections must be those of the seed."""
        for option, plain in (("save_projection", False), ("bias", "none")):
            if config.get(option, plain) != plain:
                raise CheckpointError(
                    f"The checkpoint uses peft's {option}={config[option]!r}, and the method vera has {plain!r} only: "
                    f"save it with {option}={plain!r}, or load it with peft."
                )
        return VeRA(
            targets=tuple(shapes),
            rank=int(config["r"]),
            seed=int(config.get("projection_prng_key") or 0),
            d_initial=float(config.get("d_initial", 0.1)),
            dropout=float(config.get("vera_dropout") or 0.0),
        )


@dataclass(frozen=True, kw_only=True)
class VeRA(Method):
    """h = W x + diag(b) B diag(d) A x, with b and d trained, A and B random, frozen and shared, and W frozen.

    Kopiczko et al. 2023, arXiv:2310.11454, equation 2.

    Attributes:
        rank: Inner size of A and B.
        seed: What A and B are drawn from.
        d_initial: What d starts at.
        dropout: Probability of dropping a feature of ``x`` on the random path, in training.
    """

    name = "vera"
    peft = VeRAInPeft()
    # around the 4e-3 and 1e-2 of the paper's table for RoBERTa-base
    search: ClassVar[Mapping[str, tuple[Any, ...]]] = {"learning_rate": (1e-3, 3e-3, 1e-2, 3e-2)}

    rank: int = 256
    seed: int = 0
    d_initial: float = 0.1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self.require(self.rank >= 1, "rank", "it must be at least 1")
        self.require(self.d_initial != 0, "d_initial", "it must not be 0, or nothing would be trained")
        self.require(0 <= self.dropout < 1, "dropout", "it must be at least 0 and below 1")

    def sized(self, size: int) -> Self:
        """With another rank."""
        return replace(self, rank=size)

    def build_all(self, sites: Sequence[Site]) -> dict[str, SiteAdapter]:
        """The vectors of every site, with one pair of projections as large as the largest site needs."""
        in_features = max((site.in_features for site in sites), default=0)
        out_features = max((site.out_features for site in sites), default=0)
        shared = Projections(self.seed, self.rank, in_features, out_features)
        return {site.name: ScaledProjections(site, shared, self.d_initial, self.dropout) for site in sites}


@inarch.hookimpl
def register_methods(register: Any) -> None:
    """Bring VeRA."""
    register(VeRA)
