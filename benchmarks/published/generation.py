"""Text that a model generates."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from inarch_benchmarks.published.batches import parts
from inarch_benchmarks.published.pretrained_base import on_device_of

# What a checkpoint's own generation config may ask for: sampling. Written out so that none of it counts.
_GREEDY = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}


def generate(
    model: nn.Module, tokenizer: Any, texts: Sequence[str], size: int, limit: int, **settings: Any
) -> list[str]:
    """What a model writes for each text, without sampling.

    Args:
        model: A causal model, whose own text comes after the given one, or an encoder-decoder; in evaluation mode.
        tokenizer: Its tokenizer.
        texts: What it is given.
        size: Texts at once.
        limit: The most tokens of a text; what is longer is cut.
        settings: Of ``generate``, such as ``max_new_tokens``.
    """
    written = []
    for rows in parts(len(texts), size):
        written += _batch(model, tokenizer, [texts[row] for row in rows], limit, settings)
    return written


def _batch(model: Any, tokenizer: Any, texts: list[str], limit: int, settings: dict[str, Any]) -> list[str]:
    # On the left, for what a causal model writes has to follow the text's last token.
    given = tokenizer(texts, padding=True, padding_side="left", truncation=True, max_length=limit, return_tensors="pt")
    batch = on_device_of(model, {name: given[name] for name in ("input_ids", "attention_mask")})
    tokens = model.generate(**batch, **_GREEDY, pad_token_id=tokenizer.pad_token_id, **settings)
    if not model.config.is_encoder_decoder:
        tokens = tokens[:, batch["input_ids"].shape[1] :]
    written: list[str] = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return written
