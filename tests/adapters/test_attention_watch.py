"""Attention that modules compute by themselves, in the ways that models write it, against attention written out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inarch import ModelError

from attentions import EXACT, inserted
from own_attentions import WAYS, Own, heads, in_float32


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_own_attention_equals_attention_written_out(way: Callable[..., Any], causal: bool) -> None:
    module = Own(way).double()
    adapter = inserted(module).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    mask = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    if causal:
        mask.masked_fill_(torch.ones(5, 5).triu(1).bool(), -1e300)
    q, k, v = heads(module.q(x)), heads(module.k(x)), heads(module.v(x))
    keys, values = (heads(tensor.expand(3, -1, -1)) for tensor in adapter())
    shares = torch.cat([q @ keys.mT / 2, q @ k.mT / 2 + mask], dim=-1).softmax(-1)
    expected = (shares @ torch.cat([values, v], dim=2)).transpose(1, 2).flatten(2)
    exact = {"rtol": 1e-5, "atol": 1e-5} if in_float32(way) else EXACT  # its softmax is in float32
    torch.testing.assert_close(module(x, mask), expected, **exact)
    (gradient,) = torch.autograd.grad(module(x, mask).square().sum(), adapter.keys)
    (wanted,) = torch.autograd.grad(expected.square().sum(), adapter.keys)
    torch.testing.assert_close(gradient, wanted, **exact)


def _none(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return v * torch.sigmoid(q * k)


def _nystrom(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    landmarks = heads(k)[:, :, :4]
    first = (heads(q) @ landmarks.mT).softmax(-1)
    inverse = torch.linalg.pinv((landmarks @ landmarks.mT).softmax(-1))
    last = (landmarks @ heads(k).mT).softmax(-1) @ heads(v)
    return (first @ inverse @ last).transpose(1, 2).flatten(2)


def _partly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = (heads(q).unsqueeze(3) * heads(k).unsqueeze(2)).sum(-1)
    mixed: Tensor = WAYS[0](q, k, v, mask)
    return mixed + (scores.softmax(-1) @ heads(v)).transpose(1, 2).flatten(2)


def _renormalised(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    shares = (heads(q) @ heads(k).mT).softmax(-1)
    return (shares / shares.sum(-1, keepdim=True) @ heads(v)).transpose(1, 2).flatten(2)


def _own_softmax(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = heads(q) @ heads(k).mT
    probabilities: Any = OwnSoftmax.apply(scores)
    return (probabilities @ heads(v)).transpose(1, 2).flatten(2)


class OwnSoftmax(torch.autograd.Function):
    """A softmax whose gradient is written by hand, as DeBERTa's was."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        result = torch.softmax(scores, -1)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        return torch._softmax_backward_data(gradient, result, -1, result.dtype)


@pytest.mark.parametrize("way", [_none, _nystrom, _partly, _renormalised, _own_softmax])
def test_attention_that_it_cannot_come_into_is_refused_aloud(way: Callable[..., Any]) -> None:
    module = Own(way)
    inserted(module)
    with pytest.raises(ModelError, match="The attention own was computed, or part of it, without"):
        module(torch.randn(3, 5, 8), torch.zeros(1, 1, 5, 5))
    assert torch._C._len_torch_function_stack() == 0


def test_a_forward_pass_that_leaves_its_attention_out_is_none() -> None:
    module = Own(WAYS[0])
    inserted(module)
    module.forward = lambda x, mask: x  # type: ignore[method-assign]
    x = torch.randn(3, 5, 8)
    assert module(x, torch.zeros(1, 1, 5, 5)) is x


def test_features_that_do_not_fit_are_refused_aloud() -> None:
    module = Own(WAYS[0])
    inserted(module, key_features=10)
    with pytest.raises(ModelError, match=r"keys of the shape \(3, 2, 'positions', 4\).*has 10 features"):
        module(torch.randn(3, 5, 8), torch.zeros(1, 1, 5, 5))
    assert torch._C._len_torch_function_stack() == 0


def test_a_hook_that_fails_before_it_leaves_other_modes_alone() -> None:
    module = Own(WAYS[0])

    def fail(module: nn.Module, args: Any) -> None:
        raise RuntimeError("before")

    module.register_forward_pre_hook(fail)
    inserted(module)
    with torch.device("cpu"), pytest.raises(RuntimeError, match="before"):
        module(torch.randn(3, 5, 8), torch.zeros(1, 1, 5, 5))
    assert torch._C._len_torch_function_stack() == 0
