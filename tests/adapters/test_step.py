"""A parameter that shrinks in the middle of training, with its gradient and what optimizers know of it."""

from typing import Any

import pytest
import torch
from torch import nn

from inarch.adapters.step import Step

KEPT = torch.tensor([0, 2])
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1, amsgrad=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, foreach=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.1, centered=True, momentum=0.9),
}


def trained(optimizer: str, rows: list[int]) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    """Two steps on a loss in which the rows do not meet, from the given rows of one start."""
    start = torch.linspace(-1, 2, 12, dtype=torch.float64).view(4, 3)[rows]
    parameter = nn.Parameter(start.clone())
    made = OPTIMIZERS[optimizer]([parameter])
    for _ in range(2):
        made.zero_grad()
        parameter.pow(4).sum().backward()
        made.step()
    return parameter, made


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_goes_on_as_if_it_had_always_been_small(optimizer: str) -> None:
    """Rows do not influence one another here, so the kept ones must go where they go alone."""
    parameter, made = trained(optimizer, [0, 1, 2, 3])
    alone, made_alone = trained(optimizer, [0, 2])
    Step(2, (made,)).keep(parameter, KEPT, 0)
    assert torch.equal(parameter, alone)
    assert torch.equal(parameter.grad, alone.grad)
    for each, its in ((parameter, made), (alone, made_alone)):
        its.zero_grad()
        each.pow(4).sum().backward()
        its.step()
    assert torch.equal(parameter, alone)


def test_shrinks_along_any_axis() -> None:
    parameter = nn.Parameter(torch.arange(12.0).view(3, 4))
    Step(1, ()).keep(parameter, torch.tensor([1, 3]), 1)
    assert parameter.tolist() == [[1, 3], [5, 7], [9, 11]]


def test_shrinks_to_nothing_and_is_trained_on() -> None:
    parameter, made = trained("adam", [0, 1])
    Step(2, (made,)).keep(parameter, torch.tensor([], dtype=torch.int64), 0)
    assert parameter.shape == parameter.grad.shape == (0, 3)
    parameter.sum().backward()
    made.step()


def test_while_a_loss_is_alive() -> None:
    """Autograd holds on to the old shape as long as a graph of the parameter lives, and a loop's ``loss`` does."""
    parameter = nn.Parameter(torch.ones(4, 3))
    loss = parameter.sum()
    loss.backward()
    Step(1, ()).keep(parameter, KEPT, 0)
    loss = parameter.sum()  # the old one lives until here
    loss.backward()
    assert parameter.grad.shape == (2, 3)
    assert parameter.dtype == torch.float32


def test_what_cannot_be_shrunk_begins_anew() -> None:
    """Adafactor keeps the means of rows and columns, which are not of the parameter's shape."""
    parameter = nn.Parameter(torch.ones(4, 3))
    made = torch.optim.Adafactor([parameter], lr=0.1)
    parameter.pow(2).sum().backward()
    made.step()
    assert any(isinstance(value, torch.Tensor) and value.shape == (4, 1) for value in made.state[parameter].values())
    Step(1, (made,)).keep(parameter, KEPT, 0)
    assert parameter not in made.state
    made.step()
    assert torch.isfinite(parameter).all()


def test_every_optimizer_is_told() -> None:
    one, first = trained("adam", [0, 1, 2, 3])
    second = torch.optim.SGD([one], lr=0.1, momentum=0.9)
    second.step()
    Step(3, (first, second)).keep(one, KEPT, 0)
    assert first.state[one]["exp_avg"].shape == second.state[one]["momentum_buffer"].shape == (2, 3)
