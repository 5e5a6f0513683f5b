"""The size of each built-in method, what stays as it is in another size, and what is tuned."""

import dataclasses
import math
from itertools import pairwise
from typing import Any

import pytest
import torch

import inarch
from inarch.errors import ConfigError

from families import FAMILIES
from sampled import one_of

SIZES: dict[str, tuple[dict[str, Any], set[str]]] = {
    # Settings to try, and those that a size is in or that are relative to it.
    "lora": ({"rank_pattern": {"*.0.*": 4}, "alpha_pattern": {"*.0.*": 2.0}, "dropout": 0.1}, {"rank", "alpha"}),
    "adalora": ({"steps": 40, "interval": 3}, {"target_rank", "initial_rank", "alpha"}),
    "bottleneck": ({"placement": "pfeiffer", "scale": 4.0}, {"bottleneck"}),
    "compacter": ({"n": 2}, {"bottleneck"}),
    "loreft": ({"last": 2}, {"rank"}),
    "vera": ({"seed": 3}, {"rank"}),
    "prefix": ({"hidden": 8}, {"length"}),
    "prompt": ({"initialisation": "uniform"}, {"length"}),
}
WITHOUT = {"bitfit", "full", "head", "ia3", "ln"}
PATTERNS = {"rank_pattern", "alpha_pattern"}


def trained(name: str, method: inarch.Method) -> int:
    return inarch.plan(FAMILIES[name].model(), method).report().trainable_added


def test_every_method_is_listed() -> None:
    native = {name for name in inarch.methods() if not name.startswith("peft/")}
    assert native == SIZES.keys() | WITHOUT
    assert all(inarch.method(name).sized(4) is None for name in WITHOUT)
    assert all(inarch.method(name).effective() == inarch.method(name) for name in WITHOUT)


@pytest.mark.parametrize("name", one_of(["llama", "bert"]))
@pytest.mark.parametrize("method", SIZES)
def test_a_larger_size_trains_more(method: str, name: str) -> None:
    settings, _ = SIZES[method]
    counts = [trained(name, inarch.method(method, **settings).sized(size)) for size in range(1, 9)]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("method", SIZES)
def test_other_settings_stay(method: str) -> None:
    settings, sizes = SIZES[method]
    one = inarch.method(method, **settings)
    other = one.sized(5)
    changed = {each.name for each in dataclasses.fields(one) if getattr(one, each.name) != getattr(other, each.name)}
    assert changed - PATTERNS == sizes


@pytest.mark.parametrize("method", SIZES)
def test_there_is_no_size_below_1(method: str) -> None:
    for size in (0, -1):
        with pytest.raises(ConfigError, match=r"at least 1|multiple of n"):
            inarch.method(method).sized(size)


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_lora_keeps_its_scale_everywhere(rank_stabilised: bool) -> None:
    """Hu et al. 2021, section 4.1: with alpha / r kept, the learning rate need not be tuned anew for another r."""
    one: Any = inarch.method(
        "lora", rank=8, alpha=24, rank_pattern={"*.a": 4}, alpha_pattern={"*.b": 2.0}, rank_stabilised=rank_stabilised
    )
    assert one.sized(8) == one
    for size in (2, 6, 16):
        other = one.sized(size)
        for site in ("x.a", "x.b", "x.c"):
            assert other.scale_at(site) == pytest.approx(one.scale_at(site), rel=1e-12)
            assert other.rank_at(site) == one.rank_at(site) * size / 8


def test_adalora_keeps_the_ratio_of_its_ranks() -> None:
    """Zhang et al. 2023, section 4: the initial budget is 1.5 times the final one."""
    one: Any = inarch.method("adalora", rank_pattern={"a": 3})
    assert [one.sized(size).initial_rank for size in (1, 2, 3, 4, 8, 32)] == [2, 3, 5, 6, 12, 48]
    for size in (2, 8, 32):
        other = one.sized(size)
        assert other.alpha / other.initial_rank == pytest.approx(one.alpha / one.initial_rank, rel=1e-12)
        assert other.rank_pattern is None
    assert inarch.method("adalora").sized(8) == inarch.method("adalora")


def test_compacter_counts_in_n() -> None:
    assert [inarch.method("compacter", n=4).sized(size).to_dict()["bottleneck"] for size in (1, 2, 7)] == [4, 8, 28]


def test_what_is_effective_of_adalora_is_left_in_the_end() -> None:
    """On maps of one shape, whose triplets are of one size, wherever they are left."""
    model = torch.nn.Sequential(*(torch.nn.Linear(6, 6) for _ in range(4)))
    method = inarch.method(
        "adalora", initial_rank=4, target_rank=2, steps=8, initial_warmup=1, final_warmup=2, interval=1
    )
    adapter = inarch.attach(model, method)
    effective = inarch.plan(torch.nn.Sequential(*model), method.effective())
    assert adapter.num_trainable == 4 * 4 * (6 + 1 + 6)
    optimizer = torch.optim.Adam(adapter.parameters(), 1e-2)
    torch.manual_seed(0)
    for _ in range(8):
        (model(torch.randn(3, 6)) - torch.randn(3, 6)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert adapter.num_trainable == effective.report().trainable == 4 * 2 * (6 + 1 + 6)
    assert adapter.method.effective() == adapter.method


def test_what_is_effective_of_prefixes_is_left_in_the_end() -> None:
    model = FAMILIES["llama"].model()
    method = inarch.method("prefix", length=3, hidden=8)
    effective = inarch.plan(model, method.effective()).report().trainable
    adapter = inarch.attach(model, method)
    assert adapter.num_trainable > effective
    adapter.finish()
    assert adapter.num_trainable == effective == 2 * 2 * 3 * 16  # layers, keys and values, length, two heads of 8


@pytest.mark.parametrize("method", [*SIZES, *sorted(WITHOUT), "peft/lora", "peft/prompt_tuning"])
def test_learning_rates_are_half_a_decade_apart(method: str) -> None:
    rates = inarch.methods()[method].method.search["learning_rate"]
    assert len(rates) >= 3
    assert all(round(math.log10(after / before), 1) == 0.5 for before, after in pairwise(rates))
