"""A method that follows its optimizer's steps, and a model that is small enough to compute by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

import inarch
from inarch.adapters.step import Step

RATE = 0.1


class Offset(inarch.OutputAdapter):
    """y' = y + a b, with a vector each."""

    def __init__(self, site: inarch.Site) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.full((site.out_features,), 2.0))
        self.b = nn.Parameter(torch.full((site.out_features,), 0.5))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + (self.a * self.b).to(y.dtype)


@dataclass(frozen=True, kw_only=True)
class Follower(inarch.Method):
    """A penalty of half the squared norm of a, whose gradient is a; counts its steps in a buffer."""

    name = "follower"
    strength: float = 1.0

    def build(self, site: inarch.Site) -> Offset:
        return Offset(site)

    def penalty(self, adapters: Mapping[str, inarch.SiteAdapter]) -> Tensor | None:
        return (
            self.strength * sum(adapter.a.pow(2).sum() / 2 for adapter in adapters.values()) if self.strength else None
        )

    def after_step(self, adapters: Mapping[str, inarch.SiteAdapter], step: Step) -> Self | None:
        assert not torch.is_grad_enabled()
        for adapter in adapters.values():
            assert adapter.a.grad is not None
            adapter.seen.fill_(step.number)
        return None


def small(**settings: Any) -> tuple[nn.Module, inarch.Adapter]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2)).double()
    return model, inarch.attach(model, Follower(**settings))


def only(adapter: inarch.Adapter) -> Offset:
    (module,) = adapter.modules.values()
    return module


def loss_of(model: nn.Module) -> Tensor:
    return model(torch.ones(4, 3, dtype=next(model.parameters()).dtype)).sum(1).mean()


def is_close(parameter: Tensor, value: float) -> None:
    tolerance = 1e-6 if parameter.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, value), rtol=tolerance, atol=0)
