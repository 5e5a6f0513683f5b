"""What tasks on data and models of the hub have in common."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from torch import nn

from inarch_benchmarks.comparison import Base, BenchmarkTask, Examples, Lessons
from inarch_benchmarks.published import hub
from inarch_benchmarks.published.encoded import EncodedExamples, Example, Row
from inarch_benchmarks.published.held_out import MOST, SHARE, held_out
from inarch_benchmarks.published.hub import Split
from inarch_benchmarks.published.pretrained_base import load_base, token_limit, tokenizer_of


class HubTask(BenchmarkTask):
    """A task whose rows are on the hub, and whose base is a model with files in safetensors and no code of its own.

    A share of the training split is held out for validation, unless a subclass has something better; see ``held_out``.

    Attributes:
        architecture: The Auto class of transformers that loads the base.
        training: The split that is learnt from.
        tests: The splits of the test.
        longest: The most tokens of an example.
        evaluation_batch: Rows that are scored at once.
    """

    architecture: ClassVar[str]
    training: ClassVar[Split]
    tests: ClassVar[tuple[Split, ...]]
    longest: ClassVar[int]
    evaluation_batch: ClassVar[int] = 64

    def __init__(self) -> None:
        self._fresh: WeakKeyDictionary[nn.Module, tuple[str, ...]] = WeakKeyDictionary()
        self._fingerprint: str | None = None

    def splits(self) -> Mapping[Split, tuple[str, ...]]:
        """Every split that it reads, with the columns that it reads there."""
        return dict.fromkeys((self.training, *self.tests), self.columns())

    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """What is read of each split."""

    def fingerprint(self) -> str:
        """The SHA-256 of the columns that are read, of every split, and of what is asked about them."""
        if self._fingerprint is None:
            digest = hashlib.sha256(json.dumps(self.asked(), sort_keys=True).encode())
            for split, columns in self.splits().items():
                digest.update(hub.read(split).fingerprint(columns).encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def asked(self) -> dict[str, Any]:
        """Whatever decides the question, or what is held out, beside the rows; as JSON types."""
        return {"longest": self.longest, "held out": [SHARE, MOST]}

    def load(self, base: Base, seed: int, *, pretrained: bool = True) -> nn.Module:
        """The base under ``architecture``, with a new head where that has one."""
        found = load_base(self.architecture, base, seed, pretrained=pretrained, **self.head_settings())
        model: nn.Module = found.model
        self._fresh[model] = found.fresh_backbone
        return model

    def fresh(self, model: nn.Module) -> tuple[str, ...]:
        """What the backbone has and its checkpoint had not."""
        return self._fresh.get(model, ())

    def head_settings(self) -> dict[str, Any]:
        """What the head is, in the words of transformers' configs."""
        return {}

    def lessons(self, base: Base, seed: int) -> Lessons:
        """The training split but for what is held out, and that; the same for every seed."""
        rows = self._rows(self.training)
        trained, held = held_out(len(rows))
        return Lessons(
            self.examples(base, [rows[number] for number in trained]),
            self.examples(base, [rows[number] for number in held]),
        )

    def examination(self, base: Base) -> Examples:
        """Every row of the test splits, one split after the other."""
        return self.examples(base, [row for split in self.tests for row in self._rows(split)])

    def examples(self, base: Base, rows: Sequence[Row]) -> EncodedExamples:
        """Some rows for a base."""
        limit = token_limit(base, self.longest)
        return EncodedExamples(rows, tokenizer_of(base), limit, self.encode, self.collate)

    @abstractmethod
    def encode(self, rows: Sequence[Row], tokenizer: Any, limit: int) -> list[Example]:
        """The arguments of the forward pass for each row, labels included, at most ``limit`` tokens long."""

    @abstractmethod
    def collate(self, examples: Sequence[Example], tokenizer: Any) -> dict[str, Any]:
        """A batch, padded to its longest row."""

    def _rows(self, split: Split) -> Sequence[Row]:
        """The rows of a split; every column of them is there and filled."""
        table = hub.read(split)
        for column in self.splits()[split]:
            table.column(column)
        return table.rows
