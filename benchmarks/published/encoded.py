"""Rows of text that become tokens when they are first asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inarch_benchmarks.comparison.examples import Batch, Examples

Row = Mapping[str, Any]
Example = Mapping[str, Any]


class EncodedExamples(Examples):
    """Rows that are encoded once each: a run of few steps on a large data set encodes few of them.

    Attributes:
        rows: As the data set has them.
        tokenizer: What they are encoded with.
        limit: The most tokens of a text.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        tokenizer: Any,
        limit: int,
        encode: Callable[[Sequence[Row], Any, int], Sequence[Example]],
        collate: Callable[[Sequence[Example], Any], Batch],
    ) -> None:
        """Hold the rows.

        Args:
            rows: As the data set has them.
            tokenizer: What they are encoded with.
            limit: The most tokens of a text.
            encode: The arguments of the forward pass for each of some rows.
            collate: Makes a batch of some.
        """
        self.rows = rows
        self.tokenizer = tokenizer
        self.limit = limit
        self._encode = encode
        self._collate = collate
        self._encoded: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The rows, padded to the longest."""
        missing = [row for row in dict.fromkeys(rows) if row not in self._encoded]
        if missing:
            encoded = self._encode([self.rows[row] for row in missing], self.tokenizer, self.limit)
            self._encoded.update(zip(missing, encoded, strict=True))
        return self._collate([self._encoded[row] for row in rows], self.tokenizer)
