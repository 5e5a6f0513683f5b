"""Attention adapters of random numbers, on either road into a module."""

import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch import AttentionAdapter, AttentionShape, Method, Site

from families import Family, double

LENGTH = 3
EXACT = {"rtol": 1e-10, "atol": 1e-10}
SEAM = sys.modules["inarch.adapters.attention_seam"]
SLOT = sys.modules["inarch.adapters.slot"]
INTERFACE = sys.modules["inarch.adapters.attention_interface"]


class Given(AttentionAdapter):
    """Keys and values of random numbers."""

    def __init__(self, site: Site, length: int) -> None:
        super().__init__()
        shape = site.attention
        assert shape is not None
        self.keys = nn.Parameter(torch.randn(length, shape.key_features))
        self.values = nn.Parameter(torch.randn(length, shape.value_features))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """softmax(q [P_K; K]^T) [P_V; V] with random keys and values."""

    name = "given-prefix"
    accepts = ("attention",)
    targets: tuple[str, ...] = ("@attention",)
    length: int = LENGTH

    def build(self, site: Site) -> Given:
        return Given(site, self.length)


def attach(model: nn.Module, seed: int = 3, name: str = "default", **settings: Any) -> inarch.Adapter:
    torch.manual_seed(seed)
    return inarch.attach(model, Prefix(**settings), name=name, train_head=False)


def precise(family: Family) -> tuple[nn.Module, dict[str, Tensor]]:
    batch = {key: value.double() if value.is_floating_point() else value for key, value in family.batch().items()}
    return double(family.model()), batch


def text(rows: int = 2, length: int = 6) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(3, 64, (rows, length))


@pytest.fixture(params=["registry", "watched"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each road in turn: a module that looks its function up can be watched as well."""
    if request.param == "watched":
        monkeypatch.setattr(SEAM, "looks_up", lambda module: False)
        monkeypatch.setattr(INTERFACE, "looks_up", lambda module: False)
    return str(request.param)


def inserted(module: nn.Module, key_features: int = 8, value_features: int = 8) -> Given:
    """An adapter at a module, by hand."""
    shape = AttentionShape(key_features, value_features)
    roles = frozenset({"attention"})
    site = Site(
        name="own", module=module, kind="attention", roles=roles, in_features=8, out_features=8, attention=shape
    )
    torch.manual_seed(5)
    adapter = Given(site, LENGTH)
    switch = SLOT.Switch()
    SEAM.AttentionSeam().insert(site, "default", adapter, switch)
    return adapter
