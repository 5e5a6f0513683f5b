"""Prefixes that differ from row to row: each row as if it were alone with its own."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from inarch import ModelError

from attentions import EXACT, INTERFACE, attach, inserted, precise, road  # noqa: F401 - a fixture
from families import Family, logits
from own_attentions import WAYS, Own, in_float32

PREFIX = sys.modules["inarch.adapters.attention_prefix"]
WATCH = sys.modules["inarch.adapters.attention_watch"]
SHARED = PREFIX.prefix_of


def by_row(slot: Any) -> Any:
    """Row 0 has the whole prefix; row 1 has the first key of it alone."""
    shared = SHARED(slot)
    keys, values = (tensor.repeat(2, 1, 1) for tensor in (shared.keys, shared.values))
    keys[1, 1:], values[1, 1:] = 7.0, 7.0  # what stands there must not matter
    hidden = torch.tensor([[False] * 3, [False, True, True]])
    return PREFIX.Prefix(keys, values, hidden, shared.where)


def first_alone(slot: Any) -> Any:
    """The first key, for every row."""
    shared = SHARED(slot)
    return PREFIX.Prefix(shared.keys[:, :1], shared.values[:, :1], None, shared.where)


def given(monkeypatch: pytest.MonkeyPatch, prefix_of: Callable[[Any], Any]) -> None:
    for module in (INTERFACE, WATCH):
        monkeypatch.setattr(module, "prefix_of", prefix_of)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_each_row_has_its_own(family: Family, implementation: str, road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = precise(family)
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    attach(model)
    whole = logits(model, batch)
    given(monkeypatch, first_alone)
    alone = logits(model, batch)
    given(monkeypatch, by_row)
    mixed = logits(model, batch)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if implementation == "eager" else EXACT  # some have a softmax in float32
    torch.testing.assert_close(mixed[0], whole[0], **tolerance)
    torch.testing.assert_close(mixed[1], alone[1], **tolerance)


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_each_row_has_its_own_in_any_layout(
    way: Callable[..., Any], causal: bool, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Own(way).double()
    inserted(module).double()
    x = torch.randn(2 * beams, 5, 8, dtype=torch.float64)
    mask = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    if causal:
        mask.masked_fill_(torch.ones(5, 5).triu(1).bool(), -1e300)
    results: list[Tensor] = []
    for prefix_of in (SHARED, first_alone, by_row):
        given(monkeypatch, prefix_of)
        results.append(module(x, mask))
    whole, alone, mixed = results
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if in_float32(way) else EXACT
    torch.testing.assert_close(mixed[:beams], whole[:beams], **tolerance)
    torch.testing.assert_close(mixed[beams:], alone[beams:], **tolerance)


@pytest.mark.parametrize(
    ("axes", "features"),
    [((2, 4), 32), ((2, 8), 32), ((8,), 32), ((2, 3, 4), 32), ((2, 4, 3), 32), ((2, 5, 5), 8), ((), 8)],
)
def test_it_is_laid_out_by_heads(axes: tuple[int, ...], features: int) -> None:
    """Row b, head h of the keys are the features of head h, wherever the model keeps batch and heads."""
    keys = torch.randn(1, 3, features)
    prefix = PREFIX.Prefix(keys, keys, None, "own")
    heads = features // 8
    laid_out = prefix.keys_in(torch.Size(axes), 8)
    assert laid_out.shape == (*axes, 3, 8)
    for index in torch.cartesian_prod(*(torch.arange(size) for size in axes)).view(-1, len(axes)) if axes else [()]:
        place = next((int(i) for i, size in zip(index[1:], axes[1:], strict=True) if size == heads), None)
        head = int(index[-1]) * heads // axes[-1] if place is None and len(axes) == 2 else place
        head = int(index[0]) % heads if len(axes) == 1 else (head or 0) if heads > 1 else 0
        assert torch.equal(laid_out[tuple(index)], keys[0, :, 8 * head : 8 * head + 8])


@pytest.mark.parametrize("axes", [(2, 3), (2, 4, 4), (6,)])
def test_a_layout_without_a_place_for_the_heads_is_refused(axes: tuple[int, ...]) -> None:
    prefix = PREFIX.Prefix(torch.zeros(1, 3, 32), torch.zeros(1, 3, 32), None, "own")
    with pytest.raises(ModelError, match="The attention own computes with keys of the shape"):
        prefix.keys_in(torch.Size(axes), 8)
