"""Batches of texts of several lengths."""

from collections.abc import Mapping, Sequence
from typing import Any


def padded(examples: Sequence[Mapping[str, Any]], tokenizer: Any) -> dict[str, Any]:
    """A batch of token and label lists, padded on the right; padding is neither attended to nor a label."""
    from transformers import DataCollatorForSeq2Seq

    rows = [{"attention_mask": [1] * len(example["input_ids"]), **example} for example in examples]
    return dict(DataCollatorForSeq2Seq(tokenizer, padding=True)(rows))


def parts(rows: int, size: int) -> list[range]:
    """The numbers of ``rows`` rows, ``size`` at a time."""
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]
