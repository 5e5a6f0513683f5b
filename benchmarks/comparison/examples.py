"""Examples: rows that become batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Any]
"""The keyword arguments of a model's forward pass, labels included."""


class Examples(ABC):
    """Some rows of a data set."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    @abstractmethod
    def batch(self, rows: Sequence[int]) -> Batch:
        """These rows, in this order, as one batch."""

    def batches(self, size: int) -> "list[Batch]":
        """All rows in order, ``size`` at a time."""
        return [self.batch(range(start, min(start + size, len(self)))) for start in range(0, len(self), size)]


class TensorExamples(Examples):
    """Rows that are of one shape.

    Attributes:
        tensors: By argument of the forward pass, shape (rows, ...).
    """

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def batch(self, rows: Sequence[int]) -> Batch:
        """Slices of the tensors."""
        chosen = torch.as_tensor(rows, dtype=torch.long)
        return {name: tensor[chosen] for name, tensor in self.tensors.items()}


class ListExamples(Examples):
    """Rows of several lengths, which a collator pads.

    Attributes:
        rows: The arguments of the forward pass for each row.
        collate: Makes a batch of some.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], collate: Callable[[Sequence[Mapping[str, Any]]], Batch]
    ) -> None:
        self.rows = rows
        self.collate = collate

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The rows, padded to the longest."""
        return self.collate([self.rows[row] for row in rows])
