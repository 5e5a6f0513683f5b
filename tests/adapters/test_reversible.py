"""Reversible networks, whose own backward pass needs an input with a gradient."""

from typing import Any

import torch
from torch import nn

import inarch

from architectures import made
from families import assert_same, snapshot

TOKENS = torch.arange(3, 19).reshape(2, 8)


def test_gradients_are_those_behind_a_trainable_embedding() -> None:
    found = []
    for trained in (False, True):
        torch.manual_seed(0)
        model: Any = made("causal-lm/reformer").train()  # it refuses gradients otherwise; nothing is dropped
        adapter = inarch.attach(model, "lora", rank=2, train=("*word_embeddings.weight",) if trained else ())
        torch.manual_seed(1)
        own = [tensor for module in adapter.modules.values() for tensor in module.parameters()]
        for tensor in own:
            nn.init.normal_(tensor, std=0.1)
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        found.append([tensor.grad for tensor in own])
    for one, other in zip(*found, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other)
    assert any(one.any() for one in found[0])


def test_the_embedding_asks_no_more_when_the_last_adapter_has_gone() -> None:
    model: Any = made("causal-lm/reformer").eval()
    before = snapshot(model)
    adapters = [inarch.attach(model, "bitfit", name=name) for name in ("a", "b")]
    embedding = model.get_input_embeddings()
    assert embedding(TOKENS).requires_grad
    with torch.no_grad():
        assert not embedding(TOKENS).requires_grad
    adapters[0].detach()
    assert embedding(TOKENS).requires_grad
    adapters[1].detach()
    assert not embedding._forward_hooks
    assert_same(before, snapshot(model))
