"""A vocabulary of whole words, and the tokenizer that it makes."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from inarch_benchmarks.comparison.quiet import quiet_transformers

PADDING, UNKNOWN, START, END, MASK = SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")


class Vocabulary:
    """Words and their numbers; the special ones come first.

    Attributes:
        words: Every word, special ones included, by number.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words: Sequence[str] = (*SPECIAL, *words)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words)}

    @cached_property
    def tokenizer(self) -> Any:
        """A tokenizer of transformers: lower case, whole words and marks, ``<s>`` before and ``</s>`` after a text."""
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer(models.WordLevel(self.numbers, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        ends = [(mark, self.numbers[mark]) for mark in (START, END)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=PADDING,
            unk_token=UNKNOWN,
            bos_token=START,
            eos_token=END,
            cls_token=START,
            sep_token=END,
            mask_token=MASK,
        )

    def save(self, folder: Path) -> None:
        """Save the tokenizer, for ``AutoTokenizer``."""
        with quiet_transformers():
            self.tokenizer.save_pretrained(folder)
