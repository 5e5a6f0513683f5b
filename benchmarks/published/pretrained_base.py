"""A base model on the hub: its weights, its tokenizer, and how much text it takes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from inarch.training import Pretrained, load_pretrained
from inarch.training.pretrained import load_tokenizer
from inarch_benchmarks.comparison import Base


def load_base(architecture: str, base: Base, seed: int, *, pretrained: bool, **head: Any) -> Pretrained:
    """A base, with a new head where the architecture has one; from files in safetensors, without code of its own.

    Args:
        architecture: The Auto class of transformers that loads it.
        base: What to load.
        seed: Of every weight that is drawn.
        pretrained: If not, all of its weights are drawn.
        head: What the head is, in the words of transformers' configs.

    Raises:
        ModelError: It cannot be loaded, or is no such model.
    """
    import transformers

    auto_class: Any = getattr(transformers, architecture)
    with seeded(seed):
        found = load_pretrained(auto_class, base.place, use_safetensors=True, trust_remote_code=False, **head)
    if not pretrained:
        with seeded(seed):
            found = replace(found, model=auto_class.from_config(found.model.config).eval())
    found.model.config.pad_token_id = tokenizer_of(base).pad_token_id
    return found


def tokenizer_of(base: Base) -> Any:
    """The tokenizer of a base; one object a process."""
    return _tokenizer(base.place)


def token_limit(base: Base, longest: int) -> int:
    """The most tokens of a text: ``longest``, or less where the base or its tokenizer takes less."""
    limit: int = min(longest, tokenizer_of(base).model_max_length, _positions(base.place))
    return limit


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Weights that are drawn inside follow from the seed; outside, the random state is as it was."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def on_device_of(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch where the model is."""
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}


@lru_cache(maxsize=4)
def _tokenizer(place: str) -> Any:
    return load_tokenizer(place)


@lru_cache(maxsize=4)
def _positions(place: str) -> int:
    """The most positions that a model has; as good as unlimited where its config names none."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(place)
    return getattr(config, "max_position_embeddings", None) or 10**9
