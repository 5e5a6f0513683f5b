"""Sizes that meet budgets."""

from dataclasses import dataclass
from typing import Any, Self

import pytest
import torch
from torch import nn

import inarch
from inarch import ConfigError, Site
from inarch_benchmarks.budgets import counted, fit
from inarch_plugins.bitfit import BiasShift

from families import FAMILIES, assert_same, snapshot

SIZED: dict[str, dict[str, Any]] = {
    "lora": {},
    "adalora": {"steps": 40},
    "bottleneck": {},
    "compacter": {},
    "loreft": {},
    "vera": {},
    "prefix": {"hidden": 8},
    "prompt": {},
}


def trains(model: nn.Module, method: inarch.Method | None) -> int:
    """The effective parameters without the head."""
    assert method is not None
    report = inarch.plan(model, method.effective()).report()
    return report.trainable - report.trainable_head


@pytest.mark.parametrize("name", ["llama", pytest.param("bert", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("method", SIZED)
def test_every_size_is_found_by_its_count_and_the_nearest_in_between(method: str, name: str) -> None:
    model = FAMILIES[name].model()
    given = inarch.method(method, **SIZED[method])
    counts = {size: trains(model, given.sized(size)) for size in range(1, 6)}
    for size, count in counts.items():
        found = fit(model, given, count)
        assert (found.size, found.parameters, found.deviation) == (size, count, 0)
        assert found.method == given.sized(size)
    for size in (1, 4):
        for wanted in (counts[size] + 1, counts[size + 1] - 1):
            best = min(abs(count - wanted) for count in counts.values())
            assert abs(fit(model, given, wanted).parameters - wanted) == best


@pytest.mark.parametrize("method", SIZED)
def test_it_trains_what_is_said_and_changes_nothing(method: str) -> None:
    model = FAMILIES["bert"].model()
    before, state = snapshot(model), torch.get_rng_state()
    given = inarch.method(method, **SIZED[method])
    found = fit(model, given, trains(model, given.sized(3)) + 1)
    assert_same(before, snapshot(model))
    assert torch.equal(torch.get_rng_state(), state)
    adapter = inarch.attach(model, found.method)
    assert adapter.num_trainable - adapter.report().trainable_head == found.peak
    assert (found.peak > found.parameters) == (method in ("adalora", "prefix"))


@pytest.mark.parametrize("method", ["bitfit", "ia3", "ln", "full", "head"])
def test_a_method_without_size_stays_as_it_is(method: str) -> None:
    model = FAMILIES["bert"].model()
    given = inarch.method(method)
    found = fit(model, given, 1000)
    assert (found.method, found.size) == (given, None)
    assert found.parameters == found.peak == trains(model, given)
    assert found.deviation == found.parameters / 1000 - 1


def test_without_a_budget_it_is_counted_as_it_is() -> None:
    model = FAMILIES["bert"].model()
    given = inarch.method("prefix", length=3, hidden=8)
    found = counted(model, given)
    assert (found.method, found.size, found.deviation) == (given, None, None)
    assert found.parameters == 2 * 2 * 3 * 32  # layers, keys and values, length, features
    # a matrix and a layer that all share, and a map for each layer, with their biases; the head is not counted
    assert found.peak == 3 * 8 + (8 * 8 + 8) + 2 * (8 * 64 + 64)


def test_a_size_that_leaves_modules_out_is_too_large() -> None:
    """LoRA leaves out maps that are smaller than its rank: here keys and values of 16 features, above 16."""
    model = FAMILIES["llama"].model()
    given = inarch.method("lora", targets=("@attention.query", "@attention.value"))
    most = 2 * 16 * ((32 + 32) + (32 + 16))
    assert fit(model, given, most + 300).size == 16
    found = inarch.plan(model, given.sized(32)).report()
    assert found.sites == 2
    assert found.trainable > most


def test_impossible_budgets_name_the_nearest() -> None:
    model = FAMILIES["llama"].model()
    given = inarch.method("lora", targets=("@attention.query",))  # two maps of 32 x 32: 128 parameters a rank
    with pytest.raises(ConfigError, match=r"lora cannot train about 1,000,000 .* size 32 \(4,096 parameters\)\."):
        fit(model, given, 1_000_000)
    with pytest.raises(
        ConfigError, match=r"about 60 parameters in this LlamaForCausalLM: .* size 1 \(128 parameters\)"
    ):
        fit(model, given, 60)
    assert fit(model, given, 60, tolerance=1.2).size == 1
    with pytest.raises(ConfigError, match=r"size 1 \(128 parameters\) and 2 \(256 parameters\)"):
        fit(model, given, 190, tolerance=0.1)
    with pytest.raises(ConfigError, match="at least 1"):
        fit(model, given, 0)


def test_what_never_fits_says_why() -> None:
    with pytest.raises(ConfigError, match=r"compacter\.n is 5"):
        fit(FAMILIES["llama"].model(), inarch.method("compacter", n=5), 1000)


@dataclass(frozen=True, kw_only=True)
class Stairs(inarch.Method):
    """As many biases as the size says, in steps of three, and no more than ``most``."""

    name = "stairs"
    targets: tuple[str, ...] = ("*",)
    size: int = 1
    most: int = 100

    def __post_init__(self) -> None:
        self.require(self.size <= 1000, "size", "it must be at most 1000")

    def build_all(self, sites: Any) -> dict[str, Any]:
        return {site.name: self.build(site) for site in sites}

    def build(self, site: Site) -> BiasShift:
        adapter = BiasShift(site)
        steps = min(3 * (1 + (self.size - 1) // 3), self.most)
        adapter.bias = nn.Parameter(torch.zeros(steps, device=site.device))
        return adapter

    def sized(self, size: int) -> Self:
        return type(self)(targets=self.targets, size=size, most=self.most)


@pytest.mark.parametrize(
    ("wanted", "size", "parameters"), [(3, 1, 3), (9, 7, 9), (11, 10, 12), (100, 100, 100), (140, 100, 100)]
)
def test_of_sizes_that_train_alike_the_smallest_is_taken(wanted: int, size: int, parameters: int) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    found = fit(model, Stairs(), wanted)
    assert (found.size, found.parameters) == (size, parameters)


def test_a_size_that_its_settings_refuse_is_too_large() -> None:
    assert fit(nn.Sequential(nn.Linear(4, 4)), Stairs(most=10_000), 1900).size == 1000
