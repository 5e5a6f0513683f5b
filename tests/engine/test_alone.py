"""Pieces of a graph by themselves."""

from functools import partial

import torch
from torch import Tensor, nn

from inarch.engine.alone import backward, cut, cut_call, end_of, gradients_given_up, new_root
from inarch.engine.peak_bytes import PeakBytes

CPU = torch.device("cpu")


def test_a_cut_tensor_is_the_same_with_nothing_before_it() -> None:
    root, x = new_root(CPU), torch.randn(3, requires_grad=True) * 2
    (same, copied), plain = cut(root, [x, x]), torch.randn(3)
    assert torch.equal(same, x)
    assert same.data_ptr() == x.data_ptr()
    assert cut(root, x, copies=True).data_ptr() != x.data_ptr()
    assert cut(root, plain) is plain
    assert copied.grad_fn is not None
    assert copied.grad_fn is not x.grad_fn
    copied += 1  # what is cut may be written into, as what was not may be


def test_a_call_is_cut_with_the_arguments_it_holds() -> None:
    leaf = torch.randn(3, requires_grad=True)
    inputs = [leaf * 1, leaf * 2]
    root = new_root(CPU)
    function, first = cut_call(root, partial(torch.add, other=inputs[1]), (inputs[0],))
    output = function(first)
    assert torch.equal(output, inputs[0] + inputs[1])
    assert torch.autograd.grad(output.sum(), leaf, allow_unused=True) == (None,)


def test_the_backward_pass_goes_through_the_piece_and_gives_no_gradients() -> None:
    layer, seen = nn.Linear(3, 3), []
    x = torch.randn(2, 3, requires_grad=True)
    root = new_root(CPU)
    with gradients_given_up(layer.parameters()) as trained:
        output = layer(cut(root, x))
        output.register_hook(lambda gradient: seen.append(gradient))
        backward(end_of((output, None)), [root, *trained])
    assert torch.equal(seen[0], torch.ones(2, 3))
    assert x.grad is None
    assert all(each.grad is None and not each._backward_hooks for each in layer.parameters())


def test_what_asks_for_no_gradient_has_no_backward_pass() -> None:
    assert not end_of(torch.ones(3)).requires_grad
    backward(end_of(torch.ones(3)), [])


def test_gradients_take_memory_for_a_moment_only() -> None:
    layers = [nn.Linear(64, 64, bias=False) for _ in range(8)]
    x = torch.randn(1, 64)

    def peak(given_up: bool) -> int:
        output: Tensor = x
        for layer in layers:
            output = layer(output)
        parameters = [layer.weight for layer in layers]
        with PeakBytes(CPU) as memory:
            if given_up:
                with gradients_given_up(parameters):
                    backward(end_of(output), parameters)
            else:
                backward(end_of(output), parameters)
        return memory.peak

    weight = layers[0].weight.nbytes
    assert peak(given_up=True) < 2 * weight
    assert peak(given_up=False) >= 8 * weight
