"""Masked language modelling (Devlin et al. 2018, arXiv:1810.04805): texts with hidden words to be named."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inarch_benchmarks.comparison.examples import Batch, Examples
from inarch_benchmarks.embedded.vocabulary import MASK, SPECIAL, Vocabulary


class MaskedTexts(Examples):
    """Texts, each several times with other words hidden; every hidden word becomes the mask, and a label.

    Attributes:
        input_ids: The words, shape (texts, length), padded with 0.
        hidden: What is hidden, shape (copies, texts, length).
    """

    def __init__(
        self, texts: Sequence[str], vocabulary: Vocabulary, *, length: int, share: float, copies: int = 1, seed: int = 0
    ) -> None:
        encoded = vocabulary.tokenizer(
            list(texts), max_length=length, padding="max_length", truncation=True, return_tensors="pt"
        )
        self.input_ids: Tensor = encoded["input_ids"]
        self._mask = vocabulary.numbers[MASK]
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand((copies, *self.input_ids.shape), generator=generator)
        self.hidden = (drawn < share) & (self.input_ids >= len(SPECIAL))

    def __len__(self) -> int:
        return len(self.hidden) * len(self.input_ids)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The texts of one copy count after those of another; padding beyond the longest is cut."""
        chosen = torch.as_tensor(rows, dtype=torch.long)
        copy, text = chosen // len(self.input_ids), chosen % len(self.input_ids)
        words, hidden = self.input_ids[text], self.hidden[copy, text]
        length = int((words != 0).sum(-1).max())
        words, hidden = words[:, :length], hidden[:, :length]
        return {
            "input_ids": torch.where(hidden, self._mask, words),
            "attention_mask": (words != 0).long(),
            "labels": torch.where(hidden, words, -100),
        }
