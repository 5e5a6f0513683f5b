"""The module seam: adapters at the input and at the output of one module, in order, and gone without a trace."""

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import inarch
from inarch import InputAdapter, Method, OutputAdapter, Site, SiteAdapter, WeightDelta

from families import FAMILIES, assert_same, logits, perturb, snapshot


class InputShift(InputAdapter):
    """``x' = c x + s``; a change of the bias when c is 1: ``W (x + s) + b = W x + (b + W s)``."""

    def __init__(self, site: Site, factor: float) -> None:
        super().__init__()
        self.site = site
        self.factor = factor
        self.shift = nn.Parameter(torch.zeros(site.in_features))

    def forward(self, x: Tensor) -> Tensor:
        return (self.factor * x + self.shift).to(x.dtype)

    def delta(self) -> WeightDelta | None:
        return WeightDelta(bias=self.site.weight() @ self.shift) if self.factor == 1 else None


class OutputShift(OutputAdapter):
    """``y' = y + s + mean(x)``: so that a test sees which x it was given."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(site.out_features))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + self.shift + x.mean(-1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Shifts(Method):
    """A shift before or after a map."""

    name = "shifts"
    accepts = ("linear", "norm")

    targets: tuple[str, ...] = ("@linear", "@norm")
    side: Literal["input", "output"] = "input"
    factor: float = 1.0

    def build(self, site: Site) -> SiteAdapter:
        return InputShift(site, self.factor) if self.side == "input" else OutputShift(site)


class Named(nn.Module):
    """A map that is called by keyword, with another argument after the input, and gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Tupled()

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        result: tuple[Tensor, str] = self.inner(hidden=x, note="kept")
        return result


class Tupled(nn.Module):
    """A norm, as the anatomy sees it: models' own linear maps with other signatures are no linear maps to it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, 5.0))

    def forward(self, hidden: Tensor, note: str) -> tuple[Tensor, str]:
        return self.weight * hidden, note


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3)).double()


def shifted(model: nn.Module, **settings: Any) -> inarch.Adapter:
    return inarch.attach(model, Shifts(**settings))


X = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_the_module_is_given_the_adapted_input() -> None:
    model = linear()
    perturb(adapter := shifted(model, factor=2.0))
    (shift,) = adapter.parameters()
    torch.testing.assert_close(model(X), nn.functional.linear(2 * X + shift, model[0].weight, model[0].bias))


def test_inputs_are_adapted_in_the_order_of_attaching() -> None:
    model = linear()
    perturb(one := inarch.attach(model, Shifts(factor=2.0), name="one"), seed=1)
    perturb(two := inarch.attach(model, Shifts(factor=3.0), name="two"), seed=2)
    (first,), (second,) = one.parameters(), two.parameters()
    seen = 3 * (2 * X + first) + second
    torch.testing.assert_close(model(X), nn.functional.linear(seen, model[0].weight, model[0].bias))
    one.enabled = False
    torch.testing.assert_close(model(X), nn.functional.linear(3 * X + second, model[0].weight, model[0].bias))
    one.detach()
    torch.testing.assert_close(model(X), nn.functional.linear(3 * X + second, model[0].weight, model[0].bias))


def test_an_adapter_after_the_module_sees_the_input_that_the_module_saw() -> None:
    model = linear()
    perturb(before := inarch.attach(model, Shifts(factor=2.0), name="before"), seed=1)
    perturb(after := inarch.attach(model, Shifts(side="output"), name="after"), seed=2)
    (first,), (second,) = before.parameters(), after.parameters()
    seen = 2 * X + first
    expected = nn.functional.linear(seen, model[0].weight, model[0].bias) + second + seen.mean(-1, keepdim=True)
    torch.testing.assert_close(model(X), expected)


@pytest.mark.parametrize("side", ["input", "output"])
def test_keywords_and_tuples_pass_through(side: Literal["input", "output"]) -> None:
    torch.manual_seed(0)
    model = Named().double()
    perturb(adapter := shifted(model, side=side))
    (shift,) = adapter.parameters()
    y, note = model(X)
    before, after = (X + shift, 0) if side == "input" else (X, shift + X.mean(-1, keepdim=True))
    torch.testing.assert_close(y, model.inner.weight * before + after)
    assert note == "kept"


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_weight_interpolates(side: Literal["input", "output"]) -> None:
    model = linear()
    plain = model(X)
    perturb(adapter := shifted(model, side=side))
    whole = model(X)
    adapter.weight = 0.25
    torch.testing.assert_close(model(X), 0.75 * plain + 0.25 * whole)  # linear in the input too


@pytest.mark.parametrize("side", ["input", "output"])
def test_it_leaves_no_trace(side: Literal["input", "output"]) -> None:
    model = FAMILIES["llama"].model()
    batch = FAMILIES["llama"].batch()
    before, answer = snapshot(model), logits(model, batch)
    one = inarch.attach(model, Shifts(side=side), name="one")
    two = inarch.attach(model, Shifts(side=side), name="two")
    perturb(one)
    perturb(two)
    one.detach()
    assert not torch.equal(logits(model, batch), answer)
    two.detach()
    assert torch.equal(logits(model, batch), answer)
    assert_same(before, snapshot(model))


def test_one_side_leaves_while_the_other_stays() -> None:
    model = linear()
    perturb(before := inarch.attach(model, Shifts(factor=2.0), name="before"), seed=1)
    perturb(after := inarch.attach(model, Shifts(side="output"), name="after"), seed=2)
    before.detach()
    assert not model[0]._forward_pre_hooks
    (shift,) = after.parameters()
    torch.testing.assert_close(model(X), model[0].forward(X) + shift + X.mean(-1, keepdim=True))


def test_other_hooks_are_left_alone() -> None:
    model = linear()
    seen: list[Tensor] = []
    handle = model[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    adapter = shifted(model, factor=2.0)
    model(X)
    adapter.detach()
    model(X)
    assert len(seen) == 2
    handle.remove()
    assert not model[0]._forward_pre_hooks


def test_an_input_shift_merges_into_the_bias() -> None:
    model = linear()
    plain = model(X)
    perturb(adapter := shifted(model))
    adapted = model(X)
    adapter.merge()
    torch.testing.assert_close(model(X), adapted, rtol=0, atol=1e-12)
    adapter.unmerge()
    assert torch.equal(model(X), adapted)
    adapter.detach()
    assert torch.equal(model(X), plain)


def _copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def _pickled(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    again: nn.Module = torch.load(buffer, weights_only=False)
    return again


@pytest.mark.parametrize("again", [_copied, _pickled])
def test_copies_carry_their_own(again: Callable[[nn.Module], nn.Module]) -> None:
    model = linear()
    perturb(shifted(model))
    answer, twin = model(X), again(model)
    assert torch.equal(twin(X), answer)
    perturb(inarch.adapters(twin)["default"])
    assert torch.equal(model(X), answer)
    assert not torch.equal(twin(X), answer)


def test_checkpointing_recomputes_it() -> None:
    model = linear()
    perturb(adapter := shifted(model))
    (shift,) = adapter.parameters()
    model(X).square().sum().backward()
    plain, shift.grad = shift.grad, None
    checkpoint(model, X, use_reentrant=False).square().sum().backward()
    assert plain is not None
    torch.testing.assert_close(shift.grad, plain)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_compilers_see_through_it(name: str) -> None:
    torch.compiler.reset()
    model = FAMILIES[name].model()
    batch = {key: value for key, value in FAMILIES[name].batch().items() if key != "labels"}
    perturb(adapter := inarch.attach(model, Shifts(), train_head=False))
    answer = logits(model, batch)
    program = torch.export.export(model, (), batch | ({} if name == "bert" else {"use_cache": False}), strict=False)
    torch.testing.assert_close(
        program.module()(**batch, **({} if name == "bert" else {"use_cache": False})).logits, answer
    )
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(logits(compiled, batch), answer)
    with adapter.disabled():
        torch.testing.assert_close(logits(compiled, batch), logits(model, batch))
