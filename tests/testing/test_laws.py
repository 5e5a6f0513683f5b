"""Every law is held by good methods and broken by one that breaks it."""

from dataclasses import dataclass, replace
from typing import Self

import pytest

import inarch
from inarch.testing import LAWS, check, laws_of

import broken_methods as broken
from broken_methods import Good, building

# Further ways to break the first law, by what a method says of its sizes.


@dataclass(frozen=True, kw_only=True)
class ShrinksWithItsSize(Good):
    """h = W x + scale B A x. Unpublished."""

    def sized(self, size: int) -> Self:
        return replace(self, rank=max(1, 4 - size))


@dataclass(frozen=True, kw_only=True)
class HasOddSizesOnly(Good):
    """h = W x + scale B A x. Unpublished."""

    def sized(self, size: int) -> Self | None:
        return replace(self, rank=size) if size % 2 else None


@dataclass(frozen=True, kw_only=True)
class KeepsMoreThanItTrains(Good):
    """h = W x + scale B A x. Unpublished."""

    def sized(self, size: int) -> Self:
        return replace(self, rank=size)

    def effective(self) -> Self:
        return replace(self, rank=self.rank + 1)


BROKEN: list[tuple[int, inarch.Method, str]] = [
    (1, broken.WithoutFormula(), "gives no formula"),
    (1, broken.WithoutPaper(), "names no paper"),
    (1, broken.LosesASetting(), "scale does not survive JSON: 2.0 for 1.0"),
    (1, broken.KeepsAMemory(), "other tensors"),
    (1, broken.BuildsAnotherOnMeta(), "announces 2"),
    (1, ShrinksWithItsSize(), "In size 2 it trains 192 parameters, and in a smaller one 288"),
    (1, HasOddSizesOnly(), "sized(2) is None"),
    (1, KeepsMoreThanItTrains(), "it trains 96 parameters, of which 192 are said to be effective"),
    (2, building(broken.NotAtZero), "changes the answers"),
    (3, building(broken.Forgetful), "does not depend on model.layers.0.self_attn.v_proj.unused"),
    (3, building(broken.WritesToTheBase), "Training changed the base: model.layers.0.self_attn.v_proj.weight"),
    (3, building(broken.Uphill), "do not lower the loss"),
    (3, building(broken.UnfreezesTheBase), "trained too: model.layers.0.self_attn.v_proj.weight"),
    (4, building(broken.DrawsInSecret), "answers otherwise"),
    (4, building(broken.ForgivesMissingTensors), "answers otherwise"),
    (5, building(broken.LeavesAHook), "the hooks of model.layers.0.self_attn.v_proj"),
    (5, building(broken.LeavesAnAttribute), "the attributes of model.layers.0.self_attn.v_proj"),
    (5, building(broken.IgnoresTheSwitch), "Disabled"),
    (5, building(broken.DoesNothing), "make no difference"),
    (5, broken.RefusesTooLate(), "said no, and yet it changed the hooks"),
    (6, building(broken.MergesAnother), "its delta is another map"),
    (6, building(broken.MergesTheBaseOfThen), "the value of model.layers.0.self_attn.v_proj.weight"),
    (7, building(broken.ReadsTheStoredWeight), "RuntimeError"),
    (8, building(broken.NeverCasts), "bfloat16 base: RuntimeError"),
    (8, building(broken.CountsItsCalls), "gradient checkpointing: The gradient of"),
    (8, building(broken.MeansOverTheBatch), "gradient accumulation: The gradient of"),
    (8, building(broken.SharesWithItsCopies), "deepcopy: A copy, trained alike"),
    (8, building(broken.SaysOtherFactors), "products fused by the engine: The gradient of"),
    (8, building(broken.BreaksTheGraph), "torch.compile: "),
    (9, building(broken.MixesRows), "differs by"),
    (10, broken.CountsInSecret(), "parameters end otherwise"),
    (2, broken.BuildsNoAdapter(), "returned Linear"),
    (2, broken.Raises(), "ZeroDivisionError: by zero"),
]

test_lora = laws_of("lora")
test_bitfit = laws_of("bitfit", models=["gpt2"])
test_a_good_method = laws_of(Good(), models=["llama"])


@pytest.mark.parametrize(("number", "method", "said"), BROKEN, ids=[type(method).__name__ for _, method, _ in BROKEN])
def test_a_law_catches_who_breaks_it(number: int, method: inarch.Method, said: str) -> None:
    (finding,) = check(method, models=["llama"], laws=[number]).findings
    assert finding.outcome == "broken", finding
    assert said in finding.reason


def test_every_law_is_broken_by_some_method() -> None:
    assert {number for number, _, _ in BROKEN} == {law.number for law in LAWS}


def test_a_law_breaks_alone() -> None:
    """What one law catches, the others let pass."""
    laws = [law.number for law in LAWS if law.name != "holds-in-training"]  # which takes longest
    result = check(building(broken.MergesAnother), models=["llama"], laws=laws)
    assert [finding.law.number for finding in result.broken] == [6]
