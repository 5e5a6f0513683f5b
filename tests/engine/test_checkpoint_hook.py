"""transformers' hook for gradient checkpointing, block by block."""

import copy
from typing import Any

import torch
from torch import nn

from inarch.engine.activations import keep_input
from inarch.engine.checkpoint_hook import checkpoint_by, checkpointed_blocks, restore, use_cache_again, use_no_cache

from checkpointing import all_blocks, larger
from families import FAMILIES, Family, assert_same, snapshot


def test_the_blocks_are_those_of_the_stacks(family: Family) -> None:
    names = {
        "llama": ["model.layers.0", "model.layers.1"],
        "gpt2": ["transformer.h.0", "transformer.h.1"],
        "bert": ["bert.encoder.layer.0", "bert.encoder.layer.1"],
        "t5": ["encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1"],
    }
    found = list(checkpointed_blocks(family.model()))
    assert found == names.get(family.name, found)
    assert len(found) == (4 if family.name == "t5" else 2)


def test_other_models_have_none() -> None:
    assert checkpointed_blocks(nn.Sequential(nn.Linear(2, 2))) == {}


def test_everything_is_given_back(family: Family) -> None:
    model = family.model()
    before = snapshot(model)
    with all_blocks(model, keep_input):
        assert snapshot(model)["attributes"] != before["attributes"]
    assert_same(before, snapshot(model))


def test_what_a_block_had_of_its_own_is_given_back() -> None:
    block = next(iter(checkpointed_blocks(FAMILIES["llama"].model()).values()))
    block.gradient_checkpointing = True
    block._gradient_checkpointing_func = len
    before = checkpoint_by(block, keep_input)
    assert block._gradient_checkpointing_func is keep_input
    restore(block, before)
    assert vars(block)["gradient_checkpointing"] is True
    assert vars(block)["_gradient_checkpointing_func"] is len


def _cache(model: nn.Module, **arguments: Any) -> Any:
    ids = torch.ones(1, 3, dtype=torch.long)
    return model(input_ids=ids, **arguments).past_key_values


def test_training_keeps_no_cache() -> None:
    model, _ = larger("llama")
    model.train()
    assert _cache(model) is not None
    assert use_no_cache(model)
    assert _cache(model) is None
    assert _cache(copy.deepcopy(model)) is None
    assert _cache(model, use_cache=True) is not None  # as was asked for
    with torch.no_grad():
        assert _cache(model) is not None
    assert _cache(model.eval()) is not None
    use_cache_again(model)
    assert _cache(model.train()) is not None


def test_a_model_without_a_cache_is_left_alone() -> None:
    model, _ = larger("bert")
    assert not use_no_cache(model)
    assert not model._forward_pre_hooks
