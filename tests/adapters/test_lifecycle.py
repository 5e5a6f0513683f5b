"""Methods with a penalty or a schedule, in every kind of loop."""

import copy
import gc
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.adapters import lifecycle

from families import FAMILIES, assert_same, logits, snapshot
from followers import RATE, Follower, is_close, loss_of, only, small


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


@pytest.mark.thorough
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
