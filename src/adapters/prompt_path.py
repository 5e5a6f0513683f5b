"""The path of a prompt: the modules of a model that have to know that there are more tokens."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from .module_tree import input_embedding
from .part import base_modules


@dataclass(frozen=True)
class PromptPath:
    """The modules that a prompt passes, in one model.

    Attributes:
        embedding: The embedding of the tokens.
        reader: The smallest module that holds the embedding and the blocks: within it there are more tokens.
        parameters: Names of the arguments of the reader's ``forward``.
        second: Whether the prompt stands after the first token instead of before it. Where the blocks are in a module
            of their own within the reader (BERT: ``embeddings``, ``encoder``, ``pooler``), the reader may pool the
            first token, ``[CLS]``, which must stay the first. Where it holds them itself (Llama, GPT-2, T5's encoder),
            it does not, and the prompt stands before all tokens, as in the paper.
        positions: The most positions of a learned embedding of positions; ``None`` where there is no such limit.
        counts_positions: Whether the reader finds the positions from the token ids itself, leaving padding out
            (RoBERTa), so that none are to be given.
        decoder: The decoder that attends to the reader's states, of an encoder-decoder.
    """

    embedding: nn.Embedding
    reader: nn.Module
    parameters: tuple[str, ...]
    second: bool
    positions: int | None
    counts_positions: bool
    decoder: nn.Module | None

    @property
    def takes_positions(self) -> bool:
        """Whether positions are to be given to the reader."""
        return "position_ids" in self.parameters and not self.counts_positions


def prompt_path(model: nn.Module) -> PromptPath | None:
    """The path of a prompt in ``model``; ``None`` if it embeds no tokens."""
    config = getattr(model, "config", None)
    paired = bool(getattr(config, "is_encoder_decoder", False))
    root = model.get_encoder() if paired else model  # type: ignore[operator]
    embedding = _embedding(root)
    found = _reader(root, embedding) if embedding is not None else None
    if embedding is None or found is None:
        return None
    reader, holder = found
    learned = _learned_positions(reader, embedding, config)
    skipped = 0 if learned is None or learned.padding_idx is None else learned.padding_idx + 1
    return PromptPath(
        embedding=embedding,
        reader=reader,
        parameters=tuple(inspect.signature(reader.forward).parameters),
        second=holder is not reader,
        positions=None if learned is None else _most_positions(config) - skipped,
        counts_positions=skipped > 0,
        decoder=model.get_decoder() if paired else None,  # type: ignore[operator]
    )


def _embedding(root: nn.Module) -> nn.Embedding | None:
    embedding = input_embedding(root)
    return embedding if isinstance(embedding, nn.Embedding) else None


def _reader(root: nn.Module, embedding: nn.Embedding) -> tuple[nn.Module, nn.Module] | None:
    """The nearest module around the embedding that has a list of blocks somewhere, and the module whose list it is."""
    for module in _around(root, embedding):
        holders = [inner for _, inner in base_modules(module) if _holds_blocks(inner)]
        if holders:
            return module, holders[0]
    return None


def _around(root: nn.Module, embedding: nn.Embedding) -> Iterator[nn.Module]:
    """The modules around the embedding, from the innermost out."""
    modules = dict(base_modules(root))
    name = next((name for name, module in modules.items() if module is embedding), None)
    while name:
        name = name.rpartition(".")[0]
        yield modules[name]


def _holds_blocks(module: nn.Module) -> bool:
    return any(isinstance(child, nn.ModuleList) and len(child) for child in module._modules.values())


def _most_positions(config: Any) -> int:
    return int(getattr(config, "max_position_embeddings", None) or 0)


def _learned_positions(reader: nn.Module, tokens: nn.Embedding, config: Any) -> nn.Embedding | None:
    """The embedding of positions: another one, of as many rows as positions; some have up to two rows more."""
    most = _most_positions(config)
    for _, module in base_modules(reader) if most else ():
        if isinstance(module, nn.Embedding) and module is not tokens and 0 <= module.num_embeddings - most <= 2:
            return module
    return None
