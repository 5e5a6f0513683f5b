"""Generating with a prompt: caches, pieces of a sequence, conversations."""

import copy

import pytest
import torch

from inarch.errors import ConfigError

from families import FAMILIES
from prompted import GREEDY, IDS, TOKENS, attached, embedded, padded, vectors
from readers import DECODERS, EVERY, PAIRS, answer


@pytest.mark.parametrize("name", [*DECODERS, *PAIRS])
def test_generates_the_same_with_and_without_a_cache(name: str) -> None:
    model, _ = attached(EVERY[name])
    alone = model.generate(IDS, **GREEDY)
    assert torch.equal(model.generate(IDS, **GREEDY, use_cache=False), alone)
    assert torch.equal(
        model.generate(IDS, **GREEDY, num_beams=3), model.generate(IDS, **GREEDY, num_beams=3, use_cache=False)
    )
    other = {"input_ids": torch.arange(7).unsqueeze(0) + 3, "attention_mask": torch.ones(1, 7, dtype=torch.long)}
    if name != "bart":
        row = padded(model, 2, left=True)
        batch = {key: torch.cat([row[key], other[key]]) for key in row}
        assert torch.equal(model.generate(**batch, **GREEDY)[0, -6:], alone[0, -6:])


def test_generates_what_steps_by_hand_give() -> None:
    model, adapter = attached(DECODERS["llama"])
    ours = model.generate(IDS, **GREEDY)
    prompt = vectors(adapter).unsqueeze(0)
    adapter.detach()
    ids = IDS
    for _ in range(6):
        step = answer(model, inputs_embeds=torch.cat([prompt, embedded(model, ids)], 1))[:, -1:].argmax(-1)
        ids = torch.cat([ids, step], 1)
    assert torch.equal(ours, ids)


def test_generates_in_pieces_and_with_an_assistant() -> None:
    model, _ = attached(DECODERS["llama"])
    alone = model.generate(IDS, **GREEDY)
    assert torch.equal(model.generate(IDS, **GREEDY, prefill_chunk_size=2), alone)
    assert torch.equal(model.generate(IDS, **GREEDY, assistant_model=FAMILIES["llama"].model(1).double()), alone)
    assert torch.equal(model.generate(IDS, **GREEDY, prompt_lookup_num_tokens=2), alone)


def test_a_conversation_goes_on_with_its_cache() -> None:
    model, _ = attached(DECODERS["llama"])
    first = model.generate(IDS, **GREEDY, return_dict_in_generate=True)
    both = torch.cat([first.sequences, IDS + 10], 1)
    new = both[:, -1 - TOKENS :]  # the last token that was generated is in no cache yet
    cache = copy.deepcopy(first.past_key_values)
    later = model.generate(new, attention_mask=torch.ones_like(both), past_key_values=cache, **GREEDY)
    assert torch.equal(later[:, -6:], model.generate(both, **GREEDY)[:, -6:])
    with pytest.raises(ConfigError, match="The cache holds 13 places, and with 3 of them the prompt's"):
        model.generate(both, past_key_values=first.past_key_values, **GREEDY)


def test_a_cache_without_the_prompt_is_refused() -> None:
    model, adapter = attached(DECODERS["llama"])
    with adapter.disabled(), torch.no_grad():
        cache = model(input_ids=IDS, use_cache=True).past_key_values
    mask = torch.ones(1, TOKENS + 1, dtype=torch.long)
    with pytest.raises(ConfigError, match="Fill the cache with the prompt on"):
        model(input_ids=IDS[:, :1], attention_mask=mask, past_key_values=cache)


def test_a_static_cache_is_refused() -> None:
    model, _ = attached(DECODERS["llama"])
    with pytest.raises(ConfigError, match=r'of 4 dimensions.*cache_implementation "dynamic"'):
        model.generate(IDS, **GREEDY, cache_implementation="static")
