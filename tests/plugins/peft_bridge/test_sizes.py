"""The sizes of peft's methods, held against peft's own counts, and the budgets that they meet."""

import dataclasses
import json
from typing import Any

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

import inarch
from inarch_benchmarks.budgets import fit
from inarch_plugins.peft_bridge.methods import every_method, method_of
from inarch_plugins.peft_bridge.sizes import LEARNING_RATES, PEAK, RELATIVE, SIZES, UNITS, WITHOUT_SIZE

from .conftest import small
from families import Family

WITHOUT = {
    "beft", "boft", "c3a", "cpt", "frod", "ia3", "ln_tuning", "osf", "randlora", "road", "supertuning", "trainable_tokens",
    "xlora"
}  # fmt: skip
SIZED = sorted({str(kind.value).lower() for kind in PEFT_TYPE_TO_CONFIG_MAPPING} - WITHOUT)
STEPPED = {"lokr", "oft"}
"""Methods that train as many parameters in some sizes as in the ones before."""


def sized(method: str, size: int) -> Any:
    return inarch.method(f"peft/{method}", **small(method)).sized(size)


def test_every_method_is_listed() -> None:
    assert {method.name.removeprefix("peft/") for method in every_method() if method.size is None} == WITHOUT
    assert all(inarch.method(f"peft/{name}").sized(2) is None for name in WITHOUT)


def test_no_name_in_the_tables_is_stale() -> None:
    fields = {field.name for config in PEFT_TYPE_TO_CONFIG_MAPPING.values() for field in dataclasses.fields(config)}
    assert {*SIZES, *UNITS, *RELATIVE, *LEARNING_RATES, PEAK} <= fields
    assert WITHOUT_SIZE.keys() <= {str(kind.value) for kind in PEFT_TYPE_TO_CONFIG_MAPPING}


@pytest.mark.parametrize("method", SIZED)
def test_a_larger_size_trains_more(method: str, llama: Family) -> None:
    model = llama.model()
    counts = [inarch.plan(model, sized(method, size)).report().trainable for size in range(1, 7)]
    assert counts == (sorted(counts) if method in STEPPED else sorted(set(counts)))


@pytest.mark.parametrize("method", SIZED)
def test_other_settings_stay(method: str) -> None:
    one, other = inarch.method(f"peft/{method}", **small(method)), sized(method, 5)
    changed = {each.name for each in dataclasses.fields(one) if getattr(one, each.name) != getattr(other, each.name)}
    assert changed <= {type(one).size, PEAK, *RELATIVE}
    assert type(other).from_dict(json.loads(json.dumps(other.to_dict()))) == other


@pytest.mark.thorough
@pytest.mark.parametrize("method", SIZED)
def test_budgets_are_met_within_half_a_step(method: str, llama: Family) -> None:
    model = llama.model()
    counts = {size: inarch.plan(model, sized(method, size).effective()).report().trainable for size in (3, 4)}
    step = counts[4] - counts[3]
    for wanted in (counts[3], counts[4], counts[3] + step // 3):
        fitted = fit(model, inarch.method(f"peft/{method}", **small(method)), wanted)
        assert abs(fitted.parameters - wanted) <= step / 2
        assert fitted.deviation == pytest.approx(fitted.parameters / wanted - 1)
        assert inarch.attach(llama.model(), fitted.method).num_trainable == fitted.peak


def test_what_is_divided_by_the_rank_grows_with_it() -> None:
    lora: Any = inarch.method("peft/lora", r=8, lora_alpha=24, rank_pattern={"q": 4}, alpha_pattern={"q": 6})
    other = lora.sized(16)
    assert (other.r, other.lora_alpha, other.rank_pattern, other.alpha_pattern) == (16, 48, {"q": 8}, {"q": 12})
    assert lora.sized(8) == lora
    stabilised: Any = inarch.method("peft/lora", r=4, lora_alpha=10, use_rslora=True)
    assert stabilised.sized(16).lora_alpha == 20  # alpha / sqrt(r)
    assert sized("gralora", 3).r == 6  # two blocks share it
    adalora: Any = inarch.method("peft/adalora", init_r=12, target_r=8, lora_alpha=16, total_step=10)
    other = adalora.sized(4)
    assert (other.init_r, other.target_r, other.lora_alpha) == (6, 4, 8)
    assert other.effective().init_r == 4
    chosen: Any = inarch.method("peft/adalora", total_step=10, rank_pattern={"q": (True, False)})
    assert chosen.sized(4).rank_pattern is None
    assert chosen.effective() == chosen


def test_what_is_tuned() -> None:
    assert method_of("PREFIX_TUNING").search["learning_rate"][0] > method_of("LORA").search["learning_rate"][0]
    for name in ("lora", "adalora", "vera", "ia3"):  # as the built-in methods of these names
        assert method_of(name.upper()).search == inarch.methods()[name].method.search
