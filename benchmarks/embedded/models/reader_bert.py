"""``reader-bert``: a small BERT pretrained on real text, the documentation of installed packages.

It is taught where a sentence stands: in which folder of which package. So small a model does not learn from few
sentences by masked language modelling: after as many steps it knows little more than how frequent words are.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import torch

from inarch_benchmarks.comparison.examples import Examples, TensorExamples
from inarch_benchmarks.embedded import reading
from inarch_benchmarks.embedded.models.text_model import TextModel
from inarch_benchmarks.embedded.optimisation import Optimisation
from inarch_benchmarks.embedded.reading import Sentence
from inarch_benchmarks.embedded.vocabulary import Vocabulary


class ReaderBert(TextModel):
    """It has read half of the files of four packages.

    Attributes:
        words: Size of its vocabulary, special words aside.
        least: Sentences that a folder must have to be one of the classes.
        held_out_sentences: To measure on.
    """

    name: ClassVar[str] = "reader-bert"
    optimisation: ClassVar[Optimisation] = Optimisation(
        learning_rate=3e-3, steps=1500, batch_size=32, weight_decay=0.05
    )
    work: ClassVar[int] = optimisation.steps
    length: ClassVar[int] = 24
    words: ClassVar[int] = 2000
    least: ClassVar[int] = 20
    held_out_sentences: ClassVar[int] = 500

    def vocabulary(self) -> Vocabulary:
        """The most frequent words of what it reads."""
        return _vocabulary(self.least, self.held_out_sentences, self.words)

    def data_fingerprint(self) -> str:
        """The SHA-256 of sentences and vocabulary."""
        decisive = (_read(self.least), self.held_out_sentences, self.vocabulary().words, self.length)
        return hashlib.sha256(repr(decisive).encode()).hexdigest()

    def network(self) -> Any:
        """A ``RobertaForSequenceClassification`` over folders."""
        from transformers import RobertaForSequenceClassification

        return RobertaForSequenceClassification(self.config(num_labels=len(_folders(self.least))))

    def training(self) -> Examples:
        """The sentences of its files, but for some."""
        return self._examples(_read(self.least)[self.held_out_sentences :])

    def held_out(self) -> Examples:
        """The others."""
        return self._examples(_read(self.least)[: self.held_out_sentences])

    def _examples(self, sentences: Sequence[Sentence]) -> Examples:
        folders = _folders(self.least)
        encoded = self.vocabulary().tokenizer(
            [sentence.text for sentence in sentences],
            max_length=self.length,
            padding=True,
            truncation=True,
            return_tensors="pt",
        )
        return TensorExamples(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            labels=torch.tensor([folders.index(sentence.folder) for sentence in sentences]),
        )


@cache
def _folders(least: int) -> list[str]:
    """The folders with enough sentences, by name."""
    counted = Counter(sentence.folder for sentence in reading.sentences() if sentence.read)
    return sorted(folder for folder, count in counted.items() if count >= least)


@cache
def _read(least: int) -> list[Sentence]:
    folders = set(_folders(least))
    return [sentence for sentence in reading.sentences() if sentence.read and sentence.folder in folders]


@cache
def _vocabulary(least: int, held_out: int, words: int) -> Vocabulary:
    return Vocabulary(reading.frequent_words((sentence.text for sentence in _read(least)[held_out:]), words))
