"""The places of a prompt among the tokens of a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where each row's prompt stands, and how to make room for it.

    Attributes:
        first: Index of each row's first token that is no padding, shape (rows, 1).
        start: Index of the prompt's first vector in each longer row, shape (rows, 1).
        length: Number of its vectors.
        tokens: Number of tokens in a row, padding included.
    """

    first: Tensor
    start: Tensor
    length: int
    tokens: int

    @property
    def longer(self) -> tuple[int, int]:
        """Rows and length of a batch with the prompt in it."""
        return len(self.start), self.tokens + self.length

    def index(self) -> Tensor:
        """For each place of the longer rows its distance from the prompt's start, shape (rows, tokens + length)."""
        return torch.arange(self.tokens + self.length, device=self.start.device) - self.start

    def is_prompt(self) -> Tensor:
        """Which places are the prompt's, shape (rows, tokens + length)."""
        index = self.index()
        return (index >= 0) & (index < self.length)

    def extend(self, values: Tensor) -> Tensor:
        """Values of the tokens, shape (rows, tokens, ...), in longer rows; the prompt has those of the first token."""
        index = self.index()
        place = torch.where(index < 0, index + self.start, index + self.start - self.length)
        place = torch.where((index >= 0) & (index < self.length), self.first, place)
        return values[torch.arange(len(place), device=place.device).unsqueeze(1), place]

    def extend_positions(self, positions: Tensor) -> Tensor:
        """Positions of the tokens, shape (..., rows, tokens), in longer rows, with the prompt's counted in."""
        rows = positions.expand(*positions.shape[:-2], *self.start.shape[:1], self.tokens)
        longer = self.extend(rows.movedim((-2, -1), (0, 1))).movedim((0, 1), (-2, -1))
        within = self.start - self.first + self.index()  # of the prompt's vectors, from the first token's position on
        return longer + torch.where(self.is_prompt(), within, torch.where(self.index() < 0, 0, self.length))

    def put(self, prompt: Tensor, embedded: Tensor) -> Tensor:
        """Embedded tokens in longer rows, shape (rows, tokens + length, hidden), with the prompt in its places."""
        vectors = prompt.to(embedded.dtype)[self.index().clamp(0, self.length - 1)]
        return torch.where(self.is_prompt().unsqueeze(-1), vectors, embedded)

    def drop(self, values: Tensor) -> Tensor:
        """Values of longer rows, shape (rows, tokens + length, ...), at the tokens alone."""
        index = torch.arange(self.tokens, device=self.start.device).expand(len(self.start), -1)
        index = torch.where(index < self.start, index, index + self.length)
        return values[torch.arange(len(index), device=index.device).unsqueeze(1), index]


def places(mask: Tensor | None, rows: int, tokens: int, length: int, *, second: bool, device: torch.device) -> Places:
    """The places of a prompt of ``length`` vectors.

    Args:
        mask: 1 for tokens and 0 for padding, shape (rows, tokens); ``None`` for no padding.
        rows: Number of rows.
        tokens: Number of tokens in a row, padding included.
        length: Number of vectors.
        second: Whether it stands after the first token instead of before it. Padding on the left stays on the left.
        device: Where the tokens are.
    """
    none = torch.zeros(rows, 1, dtype=torch.long, device=device)
    first = none if mask is None else mask.ne(0).long().argmax(1, keepdim=True)
    return Places(first, first + int(second), length, tokens)
