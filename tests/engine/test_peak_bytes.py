"""How much memory tensors take."""

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import nn

import inarch
from inarch.engine.peak_bytes import PeakBytes, resting_bytes, storage_bytes
from inarch.quant import FourBitLinear

from families import FAMILIES

CPU = torch.device("cpu")


def test_what_is_made_counts_until_it_is_freed() -> None:
    with PeakBytes(CPU) as memory:
        first = torch.zeros(100)
        second = first + 1
        assert memory.live == memory.peak == 800
        del first
        assert (memory.live, memory.peak) == (400, 800)
        memory.restart()
        assert memory.peak == 400
        del second
        assert (memory.live, memory.peak) == (0, 400)


def test_a_view_is_no_memory_of_its_own() -> None:
    with PeakBytes(CPU) as memory:
        whole = torch.zeros(10, 10)
        part = whole[3:].t()
        assert memory.live == 400
        del whole
        assert memory.live == 400  # the view holds it
        del part
        assert memory.live == 0


def test_what_was_there_before_counts_nothing() -> None:
    before = torch.zeros(100)
    with PeakBytes(CPU) as memory:
        view = before[5:] * 1
        before.add_(1)
        assert memory.live == view.nbytes
        del before
        assert memory.live == view.nbytes


def test_a_training_step_by_hand() -> None:
    """y = relu(W x): 4 bytes an element, x of 8 x 16, W of 32 x 16."""
    layer, x = nn.Linear(16, 32, bias=False), torch.randn(8, 16)
    product, output = 4 * 8 * 32, 4 * 8 * 32
    with PeakBytes(CPU) as memory:
        end = layer(x).relu()
        assert memory.live == output  # which relu keeps; nothing keeps the product
        assert memory.peak == product + output
        end.backward(torch.ones_like(end))
        del end
        assert memory.live == layer.weight.nbytes  # its gradient


def test_storages_count_once() -> None:
    whole = torch.zeros(10, 10)
    assert storage_bytes([whole, whole[1:], torch.zeros(3)]) == 412


def test_what_rests_is_weights_and_three_times_what_is_trained() -> None:
    model = FAMILIES["gpt2"].model()  # whose head is tied to its embedding
    weights = sum(parameter.nbytes for parameter in model.parameters()) + sum(each.nbytes for each in model.buffers())
    assert resting_bytes(model) == weights + 3 * sum(parameter.nbytes for parameter in model.parameters())
    adapter = inarch.attach(model, "lora")
    trained = sum(parameter.nbytes for parameter in adapter.parameters())
    assert resting_bytes(model) == weights + trained + 3 * trained


def test_what_adamw_really_holds() -> None:
    layer = nn.Linear(16, 32)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(16)).sum().backward()
    optimizer.step()
    state = [value for each in optimizer.state.values() for value in each.values() if value.dim()]
    held = [*layer.parameters(), *(each.grad for each in layer.parameters()), *state]
    assert resting_bytes(layer) == storage_bytes(held)


@pytest.mark.parametrize("library", ["bitsandbytes", "inarch"])
@pytest.mark.parametrize("double", [True, False])
def test_quantised_weights_count_as_they_are_stored(library: str, double: bool) -> None:
    """Two codes a byte, a scale for 64 of them, in float32 or in a byte with 256 values and a scale for 256 of those."""
    if library == "inarch":
        layer: nn.Module = FourBitLinear.of(nn.Linear(128, 64, bias=False), double=double)
    else:
        layer = Linear4bit(128, 64, bias=False, compress_statistics=double, quant_type="nf4").to("cpu")
    codes, scales, code = 128 * 64 // 2, 128 * 64 // 64, 4 * 16
    nested = 4 * 256 + 4 * 1
    offset = 4 if library == "bitsandbytes" else 0  # a tensor there
    assert resting_bytes(layer) == codes + code + (scales + nested + offset if double else 4 * scales)
