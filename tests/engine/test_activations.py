"""Levels of checkpointing: the same results to the bit, and what each computes again."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch.engine.activations import _ATTENTION, _draws, keep_attention, keep_input
from inarch.engine.offload import Offload
from inarch.engine.peak_bytes import PeakBytes
from inarch.quant.recomputation import recomputation

from checkpointing import Attentions, all_blocks, assert_equal, larger, step, without_dropout
from families import FAMILIES, Family, perturb
from mixtures import MAKERS, mixture
from sampled import each_once, one_of

LEVELS: dict[str, Callable[..., Any]] = {
    "full": keep_input,
    "selective": keep_attention,
    "offload": Offload().keep_input,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("dtype", one_of([torch.float32, torch.float64]))
def test_results_are_the_same_to_the_bit(family: Family, level: str, dropout: bool, dtype: torch.dtype) -> None:
    model = family.model().to(dtype)
    if not dropout:
        without_dropout(model)
    batch = {name: value.to(dtype) if value.is_floating_point() else value for name, value in family.batch().items()}
    before = step(model, batch)
    with all_blocks(model, LEVELS[level]):
        assert_equal(before, step(model, batch))
    assert_equal(before, step(model, batch))


@each_once(name=["llama", "t5"], method=["lora", "prefix", "prompt", "bottleneck", "ia3", "adalora"], level=LEVELS)
def test_results_are_the_same_with_adapters(name: str, method: str, level: str) -> None:
    family = FAMILIES[name]
    model = family.model()
    perturb(inarch.attach(model, method))
    before = step(model, family.batch())
    with all_blocks(model, LEVELS[level]):
        assert_equal(before, step(model, family.batch()))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", list(MAKERS))
def test_results_are_the_same_with_experts(name: str, level: str) -> None:
    model, batch = mixture(name), FAMILIES["llama"].batch()
    before = step(model, batch)
    with all_blocks(model, LEVELS[level]):
        assert_equal(before, step(model, batch))


def _attentions(function: Any) -> tuple[int, int]:
    """Computed in the forward and in the backward pass."""
    model, batch = larger("llama")
    model.train()
    with all_blocks(model, function):
        with Attentions() as forward:
            loss = model(**batch).loss
        with Attentions() as backward:
            loss.backward()
    return forward.count, backward.count


def test_full_computes_attention_again_and_selective_does_not() -> None:
    assert _attentions(keep_input) == (6, 6)
    assert _attentions(keep_attention) == (6, 0)
    assert _attentions(None) == (6, 0)


def test_attention_with_dropout_is_computed_again() -> None:
    """If it were not, what is drawn after it in the same block would differ from the forward pass."""
    model, batch = FAMILIES["gpt2"].model(), FAMILIES["gpt2"].batch()
    before = step(model, batch)
    with all_blocks(model, keep_attention):
        assert_equal(before, step(model, batch))
    flash = torch.ops.aten._scaled_dot_product_flash_attention.default
    q = torch.zeros(1)
    assert _draws(flash, (q, q, q, 0.1), {})
    assert _draws(flash, (q, q, q), {"dropout_p": 0.1})
    assert not _draws(flash, (q, q, q), {})
    assert not _draws(flash, (q, q, q, 0.0), {})
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention.default
    assert _draws(efficient, (q, q, q, None, True, 0.5), {})
    assert not _draws(efficient, (q, q, q, None, True), {})


def test_the_operations_are_those_of_torch() -> None:
    for name in _ATTENTION:
        package, _, operation = name.rpartition("::")
        if package == "aten":
            assert torch.ops.aten.__getattr__(operation).default, name
    assert isinstance(torch.ops.higher_order.flex_attention, torch._ops.HigherOrderOperator)
    assert torch.ops.higher_order.flex_attention.name() in _ATTENTION


def test_what_is_kept_grows_from_level_to_level() -> None:
    kept = {}
    for level, function in (("none", None), ("selective", keep_attention), ("full", keep_input)):
        model, batch = larger("llama")
        inarch.attach(model, "lora")
        with all_blocks(model, function), PeakBytes(torch.device("cpu")) as memory:
            model.train()
            loss = model(**batch).loss
            kept[level] = memory.live
            del loss
    blocks, hidden = 6, 8 * 48 * 64 * 4
    logsumexp = 8 * 4 * 48 * 4
    assert kept["selective"] - kept["full"] == blocks * (hidden + logsumexp)  # the output is as large as the input
    assert kept["none"] > 4 * kept["selective"]


@pytest.mark.parametrize("level", LEVELS)
def test_backward_twice(level: str) -> None:
    model, batch = larger("llama")
    model.train()
    with all_blocks(model, LEVELS[level]):
        loss = model(**batch).loss
        loss.backward(retain_graph=True)
        once = {name: each.grad.clone() for name, each in model.named_parameters()}
        loss.backward()
    for name, each in model.named_parameters():
        torch.testing.assert_close(each.grad, 2 * once[name])


@pytest.mark.parametrize("level", LEVELS)
def test_recomputations_say_that_they_are(level: str) -> None:
    model, batch = larger("llama")
    seen: list[int | None] = []

    def note(module: nn.Module, args: Any) -> None:
        seen.append(recomputation())

    for layer in model.model.layers:
        layer.self_attn.q_proj.register_forward_pre_hook(note)
    with all_blocks(model, LEVELS[level]):
        step(model, batch)
    forward, backward = seen[:6], seen[6:]
    assert forward == [None] * 6
    assert len(set(backward)) == 6  # each block by itself
    assert None not in backward
    assert recomputation() is None


def test_nothing_is_checkpointed_without_gradients_or_in_evaluation() -> None:
    model, batch = larger("llama")

    def never(function: Any, *args: Any) -> Any:
        raise AssertionError

    with all_blocks(model, never):
        model.eval()
        model(**batch)
    with all_blocks(model, keep_attention), torch.no_grad(), PeakBytes(torch.device("cpu")) as memory:
        model.train()
        loss: Tensor = model(**batch).loss
        assert memory.live == loss.nbytes
