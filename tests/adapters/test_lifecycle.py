"""Methods with a penalty or a schedule, in every kind of loop."""

import contextlib
import copy
import gc
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.adapters import lifecycle
from inarch.adapters.step import Step
from inarch.errors import TrainingError

from families import FAMILIES, assert_same, logits, snapshot

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


# d loss / d a = b, d loss / d b = a: each output is counted once, by the mean over the rows.


def test_the_penalty_s_gradient_is_added_once_a_step() -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    loss = loss_of(model)
    plain = loss.item()
    loss.backward()
    assert only(adapter).a.grad.tolist() == [0.5, 0.5]
    optimizer.step()
    assert loss.item() == plain
    is_close(only(adapter).a, 2 - RATE * (0.5 + 2))
    is_close(only(adapter).b, 0.5 - RATE * 2)
    assert (adapter.clock.steps, only(adapter).seen.item()) == (1, 1)


def test_accumulated_batches_are_one_step() -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    for _ in range(4):
        (loss_of(model) / 4).backward()
    optimizer.step()
    is_close(only(adapter).a, 2 - RATE * (0.5 + 2))
    assert adapter.clock.steps == 1


def test_a_closure_gets_the_penalty_too() -> None:
    """Lightning gives every optimizer a closure that clears and computes the gradients within the step."""
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    plain = loss_of(model).item()
    assert optimizer.step(closure).item() == plain
    assert adapter.clock.steps == 1
    is_close(only(adapter).a, 2 - RATE * (0.5 + 2))
    optimizer.step(closure=closure)
    assert adapter.clock.steps == 2


class Derived(torch.optim.SGD):
    """PyTorch tells of the step of the class and of that of the class it derives from."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Around(torch.optim.Optimizer):
    """An optimizer around another one of the same parameters, as Lookahead and SAM are."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__([p for group in inner.param_groups for p in group["params"]], {})
        self.inner = inner

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


@pytest.mark.parametrize("wrap", [lambda ps: Derived(ps, lr=RATE), lambda ps: Around(torch.optim.SGD(ps, lr=RATE))])
def test_a_step_within_a_step_is_one(wrap: Any) -> None:
    torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)  # from the first one on its class tells of steps
    model, adapter = small()
    optimizer = wrap(list(adapter.parameters()))
    loss_of(model).backward()
    optimizer.step()
    assert adapter.clock.steps == 1
    is_close(only(adapter).a, 2 - RATE * (0.5 + 2))


def test_two_optimizers_share_one_adapter() -> None:
    model, adapter = small()
    a, b = only(adapter).a, only(adapter).b
    first, second = torch.optim.SGD([a], lr=RATE), torch.optim.SGD([b], lr=RATE)
    for step in (1, 2, 3):
        first.zero_grad()
        second.zero_grad()
        expected = a.detach() - RATE * (b.detach() + a.detach())
        loss_of(model).backward()
        first.step()
        second.step()
        torch.testing.assert_close(a.detach(), expected)
        assert adapter.clock.steps == step


def test_an_optimizer_of_something_else_does_not_count() -> None:
    model, adapter = small()
    other = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([other], lr=RATE)
    other.sum().backward()
    loss_of(model).backward()
    optimizer.step()
    assert adapter.clock.steps == 0
    assert only(adapter).a.grad.tolist() == [0.5, 0.5]


def test_a_new_optimizer_goes_on() -> None:
    model, adapter = small()
    for step in (1, 2, 3):
        optimizer = torch.optim.Adam(adapter.parameters(), lr=RATE)
        loss_of(model).backward()
        optimizer.step()
        assert adapter.clock.steps == step


def test_an_optimizer_of_a_part_counts() -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD([only(adapter).b], lr=RATE)
    for step in (1, 2):
        loss_of(model).backward()
        optimizer.step()
        assert adapter.clock.steps == step


def test_a_step_without_gradients_gets_no_penalty() -> None:
    _, adapter = small()
    optimizer = torch.optim.SGD([only(adapter).b], lr=RATE)
    only(adapter).a.grad = torch.zeros(2, dtype=torch.float64)
    optimizer.step()
    assert only(adapter).b.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("fused", [False, True])
def test_a_grad_scaler(fused: bool) -> None:
    """A fused optimizer unscales the gradients itself, within the step, and skips the step itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2))
    adapter = inarch.attach(model, Follower())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE, fused=fused)
    scaler.scale(loss_of(model)).backward()
    scaler.step(optimizer)
    scaler.update()
    is_close(only(adapter).a, 2 - RATE * (0.5 + 2))
    assert adapter.clock.steps == 1
    optimizer.zero_grad()
    before = only(adapter).a.detach().clone()
    scaler.scale(loss_of(model) * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(only(adapter).a, before)
    assert adapter.clock.steps == 1


def test_autocast() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2))
    adapter = inarch.attach(model, Follower())
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model)
    loss.backward()
    optimizer.step()
    assert only(adapter).a.dtype == torch.float32
    is_close(only(adapter).a, 2 - RATE * (0.5 + 2))


def test_a_disabled_adapter_s_time_stands_still() -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    loss_of(model).backward()
    with adapter.disabled():
        optimizer.step()
    assert adapter.clock.steps == 0
    optimizer.step()
    assert adapter.clock.steps == 1


def test_two_adapters_have_their_own_time() -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    loss_of(model).backward()
    optimizer.step()
    other = inarch.attach(model, Follower(), name="other")
    both = torch.optim.SGD([*adapter.parameters(), *other.parameters()], lr=RATE)
    loss_of(model).backward()
    both.step()
    assert (adapter.clock.steps, other.clock.steps) == (2, 1)
    adapter.detach()
    loss_of(model).backward()
    both.step()
    assert (adapter.clock.steps, other.clock.steps) == (2, 2)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_its_own_time(again: Any) -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    loss_of(model).backward()
    optimizer.step()
    twin = again(model)
    handle = inarch.adapters(twin)["default"]
    mine = torch.optim.SGD(handle.parameters(), lr=RATE)
    for _ in range(2):
        loss_of(twin).backward()
        mine.step()
    assert (adapter.clock.steps, handle.clock.steps) == (1, 3)
    optimizer.step()
    assert (adapter.clock.steps, handle.clock.steps) == (2, 3)


def test_detaching_leaves_nothing_behind() -> None:
    gc.collect()
    model = nn.Sequential(nn.Linear(3, 2)).double()
    before = snapshot(model)
    adapter = inarch.attach(model, Follower())
    assert adapter in lifecycle._followed
    other = inarch.attach(model, Follower(), name="other")
    adapter.detach()
    assert adapter not in lifecycle._followed
    assert model._forward_pre_hooks
    other.detach()
    assert_same(before, snapshot(model))
    optimizer = torch.optim.SGD(only(adapter).parameters(), lr=RATE)
    only(adapter).a.grad = torch.zeros(2, dtype=torch.float64)
    optimizer.step()
    assert adapter.clock.steps == 0


def test_a_model_that_is_let_go_is_not_kept() -> None:
    _, adapter = small()
    assert adapter in lifecycle._followed
    count = len(lifecycle._followed)
    del _, adapter
    gc.collect()
    assert len(lifecycle._followed) < count


def test_the_count_is_restored() -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    for _ in range(3):
        loss_of(model).backward()
        optimizer.step()
    again, restored = small()
    restored.restore({name: tensor.clone() for name, tensor in adapter.tensors().items()})
    assert restored.clock.steps == 3
    optimizer = torch.optim.SGD(restored.parameters(), lr=RATE)
    loss_of(again).backward()
    optimizer.step()
    assert only(restored).seen.item() == 4


def hidden_by_hand(parameters: list[nn.Parameter]) -> None:
    with torch.no_grad():
        for parameter in parameters:
            parameter -= RATE * parameter.grad


def hidden_in_data(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.data.add_(parameter.grad, alpha=-RATE)  # which leaves the version as it is


def changes_until_refused(model: nn.Module, adapter: inarch.Adapter, change: Any) -> int:
    """How many times the parameters can be changed before a forward pass refuses."""
    for changes in range(10):
        model.zero_grad()
        with contextlib.suppress(TrainingError):
            loss_of(model).backward()
        if next(adapter.parameters()).grad is None:
            return changes
        change(list(adapter.parameters()))
    raise AssertionError("never refused")


@pytest.mark.parametrize("change", [hidden_by_hand, hidden_in_data])
def test_hidden_steps_are_refused(change: Any) -> None:
    model, adapter = small()
    assert changes_until_refused(model, adapter, change) == lifecycle.HIDDEN_STEPS
    with pytest.raises(TrainingError, match=r'"default" change, but no optimizer step is seen: follower follows'):
        model(torch.ones(1, 3).double())


@pytest.mark.parametrize("change", [hidden_by_hand, hidden_in_data])
def test_hidden_steps_after_seen_ones_are_refused(change: Any) -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    assert changes_until_refused(model, adapter, change) <= 2 * lifecycle.HIDDEN_STEPS


def test_what_is_no_hidden_step() -> None:
    """Batches that are accumulated, state dicts that are loaded, evaluation, and changes in it."""
    model, adapter = small()
    states = [{name: value + shift for name, value in model.state_dict().items()} for shift in (0.0, 0.1)]
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    for _ in range(4):
        for state in states:
            model.load_state_dict(state)
            loss_of(model)
        for _ in range(20):
            loss_of(model).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    for _ in range(10):
        model.load_state_dict(states[_ % 2])
        loss_of(model)
    model.train()
    with torch.no_grad():
        for _ in range(10):
            model.load_state_dict(states[_ % 2])
            loss_of(model)
    loss_of(model)


def test_the_values_are_seldom_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an accelerator each look waits for it: a usual loop must not pay for it at every batch."""
    from inarch.adapters import clock

    looks: list[None] = []
    sample = clock._sample
    monkeypatch.setattr(clock, "_sample", lambda parameters: (looks.append(None), sample(parameters))[1])
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)
    for _ in range(50):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    assert len(looks) == 1
    for _ in range(64):
        loss_of(model).backward()
    assert len(looks) == 1 + 6  # at the passes 2, 4, 8, 16, 32 and 64


def test_a_failed_step_is_not_half_a_step() -> None:
    model, adapter = small()
    optimizer = torch.optim.SGD(adapter.parameters(), lr=RATE)

    def closure() -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert adapter.clock.steps == 0
    another = torch.optim.SGD(adapter.parameters(), lr=RATE)
    loss_of(model).backward()
    another.step()
    assert adapter.clock.steps == 1
    is_close(only(adapter).a, 2 - RATE * (0.5 + 2))


def test_a_compiled_model_trains() -> None:
    torch.compiler.reset()
    family = FAMILIES["bert"]
    model = family.model()
    adapter = inarch.attach(model, Follower(strength=0.0))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.01)
    batch = family.batch()
    labels = batch.pop("labels")
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(compiled(**batch).logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert adapter.clock.steps == 4
    assert losses[-1] < losses[0]
    assert torch.equal(logits(compiled, batch), logits(model, batch))
