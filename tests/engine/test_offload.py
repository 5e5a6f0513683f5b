"""Inputs of blocks in host memory."""

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from inarch.engine.activations import keep_input
from inarch.engine.offload import Offload, _Parked

from checkpointing import all_blocks, assert_equal, larger, step


def _block(x: Tensor, weight: Tensor) -> Tensor:
    return (x @ weight).tanh()


def _inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(4, 8, requires_grad=True), torch.randn(8, 8, requires_grad=True)


@pytest.mark.parametrize("asks", [True, False])
def test_the_input_is_let_go_of(asks: bool) -> None:
    start, weight = _inputs()
    for function, stays in ((keep_input, True), (Offload().keep_input, False)):
        x = (start if asks else start.detach()) * 1
        storage = weakref.ref(x.untyped_storage())
        end = function(_block, x, weight)
        del x
        assert (storage() is not None) == stays
        end.sum().backward()


def test_other_arguments_stay_where_they_are() -> None:
    start, weight = _inputs()
    shared = weight * 1
    before = _parked()
    end = Offload().keep_input(_block, start * 1, shared)
    assert _parked() == before + 1
    end.sum().backward()
    assert weight.grad is not None


def _parked() -> int:
    gc.collect()
    return sum(type(each) is _Parked for each in gc.get_objects())


def test_the_block_before_is_fetched_ahead() -> None:
    start, weight = _inputs()
    parked: list[_Parked] = []
    offload = Offload()
    park = offload._park
    offload._park = lambda tensor: parked.append(park(tensor)) or parked[-1]  # type: ignore[method-assign]
    x = start * 1
    for _ in range(3):
        x = offload.keep_input(_block, x, weight)
    ahead: list[list[bool]] = []
    take = _Parked.take

    def noted(self: _Parked) -> Tensor:
        ahead.append([each._fetched is not None for each in parked])
        return take(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Parked, "take", noted)
        x.sum().backward()
    assert ahead == [[False, False, False], [False, True, False], [True, False, False]]


def test_a_step_that_is_over_holds_nothing() -> None:
    model, batch = larger("llama")
    offload = Offload()
    with all_blocks(model, offload.keep_input):
        step(model, batch)
    assert offload._last is not None
    assert offload._last() is None


def test_two_forward_passes_before_their_backward_passes() -> None:
    start, weight = _inputs()

    def gradient(function: Any) -> Tensor:
        ends = [function(_block, function(_block, start * scale, weight), weight).sum() for scale in (1, 2)]
        (found,) = torch.autograd.grad(ends[0] + 3 * ends[1], weight)
        return found

    assert torch.equal(gradient(Offload().keep_input), gradient(keep_input))


def test_a_copy_has_streams_of_its_own() -> None:
    offload = Offload()
    model, batch = larger("llama")
    before = step(model, batch)
    with all_blocks(model, offload.keep_input):
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            functions = {block._gradient_checkpointing_func for block in other.model.layers}
            (own,) = {function.__self__ for function in functions}
            assert isinstance(own, Offload)
            assert own is not offload
            assert_equal(before, step(other, batch))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu() -> None:
    model, batch = larger("llama")
    model.cuda()
    batch = {name: value.cuda() for name, value in batch.items()}
    with all_blocks(model, keep_input):
        before = step(model, batch)
        taken = _forward_bytes(model, batch)
    with all_blocks(model, Offload().keep_input):
        after = step(model, batch)
        assert _forward_bytes(model, batch) <= taken - 5 * 8 * 48 * 64 * 4
    assert_equal(before, after)


def _forward_bytes(model: Any, batch: Any) -> int:
    torch.cuda.synchronize()
    start = torch.cuda.memory_allocated()
    loss = model(**batch).loss
    torch.cuda.synchronize()
    found = torch.cuda.memory_allocated() - start
    del loss
    return found
