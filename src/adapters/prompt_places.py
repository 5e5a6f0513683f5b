"""The places of a prompt among the tokens of a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .prompt_rows import Prompt


@dataclass(frozen=True)
class Places:
    """Where each row's prompt stands, and how to make room for it.

    In a row with fewer vectors than others some places are nobody's: they are masked like padding.

    Attributes:
        first: Index of each row's first token that is no padding, shape (rows, 1).
        start: Index of the first place that the row gains, shape (rows, 1): its prompt's, or nobody's before that.
        length: Number of places that each row gains.
        tokens: Number of tokens in a row, padding included.
        lengths: How many of the places are the row's prompt's, shape (rows, 1); ``None`` for all.
        at_end: Whether the others are the last of the row, instead of those before the prompt.
    """

    first: Tensor
    start: Tensor
    length: int
    tokens: int
    lengths: Tensor | None = None
    at_end: bool = False

    @property
    def longer(self) -> tuple[int, int]:
        """Rows and length of a batch with the prompt in it."""
        return len(self.start), self.tokens + self.length

    @property
    def own(self) -> Tensor | int:
        """How many of the places are the row's prompt's."""
        return self.length if self.lengths is None else self.lengths

    @property
    def gap(self) -> Tensor | int:
        """How many places the row gains before its tokens go on: its prompt, and what is nobody's before that."""
        return self.own if self.at_end else self.length

    def index(self) -> Tensor:
        """For each place of the longer rows its distance from the prompt's start, shape (rows, tokens + length)."""
        return self._distance() - (self.gap - self.own)

    def is_prompt(self) -> Tensor:
        """Which places are the prompt's, shape (rows, tokens + length)."""
        index = self.index()
        return (index >= 0) & (index < self.own)

    def is_nobodys(self) -> Tensor:
        """Which places are neither the prompt's nor a token's, shape (rows, tokens + length)."""
        distance = self._distance()
        if self.at_end:
            return distance + self.start >= self.tokens + self.gap
        return (distance >= 0) & (distance < self.gap - self.own)

    def extend(self, values: Tensor) -> Tensor:
        """Values of the tokens, shape (rows, tokens, ...), in longer rows; the rest has those of the first token."""
        distance = self._distance()
        place = torch.where(distance < 0, distance + self.start, distance + self.start - self.gap)
        place = torch.where((distance >= 0) & (distance < self.gap), self.first, place)
        if self.at_end and self.lengths is not None:
            place = torch.where(self.is_nobodys(), self.first, place)
        return values[torch.arange(len(place), device=place.device).unsqueeze(1), place]

    def extend_mask(self, mask: Tensor) -> Tensor:
        """A mask of the tokens, 0 for padding, shape (rows, tokens), in longer rows; it has the prompt and no more."""
        longer = self.extend(mask)
        return longer if self.lengths is None else longer.masked_fill(self.is_nobodys(), 0)

    def extend_positions(self, positions: Tensor) -> Tensor:
        """Positions of the tokens, shape (..., rows, tokens), in longer rows, with the prompt's counted in."""
        rows = positions.expand(*positions.shape[:-2], *self.start.shape[:1], self.tokens)
        longer = self.extend(rows.movedim((-2, -1), (0, 1))).movedim((0, 1), (-2, -1))
        within = self.start - self.first + self.index()  # of the prompt's vectors, from the first token's position on
        return longer + torch.where(self.is_prompt(), within, torch.where(self.index() < 0, 0, self.own))

    def put(self, vectors: Tensor, embedded: Tensor) -> Tensor:
        """Embedded tokens in longer rows, shape (rows, tokens + length, hidden), with the prompt in its places.

        Args:
            vectors: Shape (rows or 1, length, hidden).
            embedded: Shape (rows, tokens + length, hidden).
        """
        index = self.index().clamp(0, self.length - 1)
        rows = torch.arange(len(vectors), device=index.device).unsqueeze(1)
        return torch.where(self.is_prompt().unsqueeze(-1), vectors.to(embedded.dtype)[rows, index], embedded)

    def drop(self, values: Tensor) -> Tensor:
        """Values of longer rows, shape (rows, tokens + length, ...), at the tokens alone."""
        index = torch.arange(self.tokens, device=self.start.device).expand(len(self.start), -1)
        index = torch.where(index < self.start, index, index + self.gap)
        return values[torch.arange(len(index), device=index.device).unsqueeze(1), index]

    def _distance(self) -> Tensor:
        """For each place of the longer rows its distance from the first that the row gains."""
        return torch.arange(self.tokens + self.length, device=self.start.device) - self.start


def places(
    mask: Tensor | None, rows: int, tokens: int, prompt: Prompt, *, second: bool, at_end: bool, device: torch.device
) -> Places:
    """The places of a prompt.

    Args:
        mask: 1 for tokens and 0 for padding, shape (rows, tokens); ``None`` for no padding.
        rows: Number of rows.
        tokens: Number of tokens in a row, padding included.
        prompt: The prompt.
        second: Whether it stands after the first token instead of before it. Padding on the left stays on the left.
        at_end: Whether places that are nobody's are the last of the row.
        device: Where the tokens are.
    """
    none = torch.zeros(rows, 1, dtype=torch.long, device=device)
    first = none if mask is None else mask.ne(0).long().argmax(1, keepdim=True)
    return Places(first, first + int(second), prompt.length, tokens, prompt.of(rows).lengths, at_end)
