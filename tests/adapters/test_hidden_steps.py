"""Loops that hide their steps: refused, and nothing else is."""

import contextlib
from typing import Any

import pytest
import torch
from torch import nn

import inarch
from inarch.adapters import lifecycle
from inarch.errors import TrainingError

from followers import RATE, loss_of, small


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
