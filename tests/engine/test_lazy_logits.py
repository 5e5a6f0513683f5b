"""Lazy logits: what a model does to them is what it would do to the logits; anything else is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import inarch
from inarch.engine.lazy_logits import LazyHead, LazyLogits

VOCABULARY = 7


def lazy() -> tuple[LazyLogits, Tensor]:
    """Lazy logits, and the logits."""
    torch.manual_seed(0)
    head = nn.Linear(5, VOCABULARY).double()
    hidden = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    head_of = LazyHead(
        head, 3, lambda logits, target, **settings: functional.cross_entropy(logits.materialise(), target, **settings)
    )
    return LazyLogits(hidden, head_of, torch.empty(0, VOCABULARY, dtype=torch.float64)), head(hidden)


MASK = torch.tensor([[True, False, True], [False, True, True]])
BIAS = torch.randn(1, 1, VOCABULARY, dtype=torch.float64)
DONE: dict[str, Callable[[Any], Any]] = {
    "softcap": lambda x: torch.tanh(x / 3.0) * 3.0,
    "scale": lambda x: 2 * x * torch.tensor(3.0),
    "from the left": lambda x: 1 - x,
    "a bias": lambda x: x + BIAS,
    "a bias from the left": lambda x: BIAS[0, 0] + x,
    "negative": lambda x: -x,
    "clamp": lambda x: x.clamp(min=-0.1, max=0.2),
    "float": lambda x: x.float(),
    "to": lambda x: x.to(torch.bfloat16).to("cpu"),
    "shift": lambda x: x[..., :-1, :].contiguous().view(-1, VOCABULARY),
    "shift and scale": lambda x: (x * 2)[:, 1:].reshape(-1, x.size(-1)) / 3,
    "infer the last": lambda x: x.view(6, -1),
    "infer the first": lambda x: x.view((-1, VOCABULARY)),
    "one row": lambda x: x[0],
    "mask": lambda x: x[MASK],
    "rows": lambda x: x[torch.tensor([1, 0]), torch.tensor([2, 2])],
    "new axis": lambda x: x[:, None, -1:],
    "padded vocabulary": lambda x: (x[..., :4] + BIAS[..., :4]).float(),
    "flatten": lambda x: x.flatten(0, 1),
    "transpose": lambda x: x.transpose(0, 1).contiguous(),
    "squeeze": lambda x: x[:, :1].squeeze(1),
}


@pytest.mark.parametrize("name", DONE)
def test_it_is_what_the_logits_would_be(name: str) -> None:
    logits, plain = lazy()
    found, expected = DONE[name](logits), DONE[name](plain)
    assert isinstance(found, LazyLogits)
    assert (found.shape, found.dtype, found.device) == (expected.shape, expected.dtype, expected.device)
    assert (found.dim(), found.size(), found.numel(), len(found)) == (
        expected.dim(),
        expected.size(),
        expected.numel(),
        len(expected),
    )
    torch.testing.assert_close(found.materialise(), expected, rtol=1e-12, atol=1e-12)


def test_gradients_pass_through_what_is_materialised() -> None:
    logits, plain = lazy()
    hidden = logits.hidden
    (found,) = torch.autograd.grad(DONE["shift and scale"](logits).materialise().square().sum(), hidden)
    (expected,) = torch.autograd.grad(DONE["shift and scale"](plain).square().sum(), _hidden_of(plain))
    torch.testing.assert_close(found, expected)


def _hidden_of(plain: Tensor) -> Tensor:
    node: Any = plain.grad_fn
    while not hasattr(node, "variable") or node.variable.shape != (2, 3, 5):
        node = next(each for each, _ in reversed(node.next_functions) if each is not None and _leads(each))
    return node.variable


def _leads(node: Any) -> bool:
    if hasattr(node, "variable"):
        return bool(node.variable.shape == (2, 3, 5))
    return any(_leads(each) for each, _ in node.next_functions if each is not None)


REFUSED: dict[str, Callable[[Any], Any]] = {
    "softmax": lambda x: x.softmax(-1),
    "argmax": lambda x: x.argmax(-1),
    "log_softmax": lambda x: functional.log_softmax(x, dim=-1),
    "__setitem__": lambda x: x.__setitem__((slice(None), slice(None), 0), 0.0),
    "mul_": lambda x: x.mul_(2),
    "add": lambda x: x + torch.ones(2, 3, 1),
    "__getitem__": lambda x: x[..., 0],
    "view": lambda x: x.view(2, -1),
    "transpose": lambda x: x.transpose(1, 2),
    "T": lambda x: x.T,
    "data": lambda x: x.data,
    "sum": lambda x: x.sum(),
    "cat": lambda x: torch.cat([x, x]),
    "item": lambda x: x[0, 0].item(),
    "numpy": lambda x: x.numpy(),
    "detach": lambda x: x.detach(),
    "tolist": lambda x: x.tolist(),
    "eq": lambda x: x == x,
    "where": lambda x: torch.where(torch.ones(2, 3, VOCABULARY).bool(), x, 0.0),
    "flatten": lambda x: x.flatten(1),
    "squeeze": lambda x: x.squeeze(-1),
    "cross entropy": lambda x: functional.cross_entropy(x.view(-1, 7), torch.ones(6).long(), reduction="none"),
    "weighted": lambda x: functional.cross_entropy(x.view(-1, 7), torch.ones(6).long(), weight=torch.ones(7)),
    "probabilities": lambda x: functional.cross_entropy(x.view(-1, 7), torch.ones(6, 7)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_by_name(name: str) -> None:
    with pytest.raises(inarch.TrainingError, match=r'The engine\'s "chunked loss" does not compute .*materialise'):
        REFUSED[name](lazy()[0])


def test_it_can_be_printed() -> None:
    assert repr(lazy()[0]) == "LazyLogits(shape=(2, 3, 7), dtype=torch.float64, device=cpu)"
