"""Products of queries and keys, and of shares and values, in the layouts that models write them in."""

import string
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from .attention_prefix import Prefix


class Product(ABC):
    """A product of two tensors."""

    factors: tuple[Tensor, Tensor]

    @abstractmethod
    def scores(self, prefix: Prefix) -> Tensor:
        """What it would be with the keys of the prefix in the place of its own: the last axis is the prefix."""

    @abstractmethod
    def weighed(self, shares: Tensor, of_prefix: Tensor, prefix: Prefix) -> Tensor | None:
        """What the prefix adds to it, where it weighs values by ``shares``; ``None`` if it does something else.

        Args:
            shares: The factor that is the shares of the module's own keys.
            of_prefix: The shares of the prefix, in the same layout.
            prefix: The prefix.
        """


@dataclass(frozen=True)
class Matmul(Product):
    """``alpha * left @ right``; the axes before the last two are batch and heads."""

    left: Tensor
    right: Tensor
    alpha: float = 1

    @property
    def factors(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Both sides."""
        return self.left, self.right

    def scores(self, prefix: Prefix) -> Tensor:
        """``left`` is the queries, (..., queries, size), and ``right`` the keys, (..., size, keys)."""
        keys = prefix.keys_in(self.right.shape[:-2], self.right.shape[-2])
        product = self.left @ keys.mT.to(self.left.dtype)
        return product if self.alpha == 1 else self.alpha * product

    def weighed(self, shares: Tensor, of_prefix: Tensor, prefix: Prefix) -> Tensor | None:
        """``left`` is the shares, (..., queries, keys), and ``right`` the values, (..., keys, size)."""
        if shares is not self.left:
            return None
        return of_prefix @ prefix.values_in(self.right.shape[:-2], self.right.shape[-1]).to(of_prefix.dtype)


@dataclass(frozen=True)
class Einsum(Product):
    """``einsum(equation, left, right)``, with a letter for each axis.

    Attributes:
        letters: Those of the left side, of the right side and of the result.
    """

    letters: tuple[str, str, str]
    left: Tensor
    right: Tensor

    @classmethod
    def of(cls, equation: Any, *operands: Any) -> Self | None:
        """The product of an einsum, if it is one of two tensors."""
        if len(operands) == 1:
            operands = tuple(operands[0])
        if not isinstance(equation, str) or len(operands) != 2 or "->" not in equation:
            return None
        written = equation.replace(" ", "").replace("->", ",").split(",")
        more = _spelled_out(written[0], operands[0].dim())
        if any("..." in term for term in written) and more != _spelled_out(written[1], operands[1].dim()):
            return None  # axes of one side that are broadcast over the other
        left, right, result = (term.replace("...", more) for term in written)
        return cls((left, right, result), *operands)

    @property
    def factors(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Both sides."""
        return self.left, self.right

    def scores(self, prefix: Prefix) -> Tensor:
        """The side that has the last letter of the result is the keys."""
        left, right, result = self.letters
        keys_are_right = result[-1] in right
        queries, keys = (self.left, self.right) if keys_are_right else (self.right, self.left)
        of_queries, of_keys = (left, right) if keys_are_right else (right, left)
        sizes = dict(zip(of_keys, keys.shape, strict=True))
        shared = "".join(letter for letter in result if letter in of_keys and letter in of_queries)
        summed = next(letter for letter in of_keys if letter not in result)
        own = prefix.keys_in(torch.Size(sizes[letter] for letter in shared), sizes[summed])
        return torch.einsum(f"{of_queries},{shared}{result[-1]}{summed}->{result}", queries, own.to(queries.dtype))

    def weighed(self, shares: Tensor, of_prefix: Tensor, prefix: Prefix) -> Tensor | None:
        """The letter that is summed over is the last of the shares."""
        left, right, result = self.letters
        of_shares, of_values = (left, right) if shares is self.left else (right, left)
        values = self.right if shares is self.left else self.left
        sizes = dict(zip(of_values, values.shape, strict=True))
        sizes_left = [letter for letter in of_values if letter not in of_shares]
        if of_shares[-1] not in of_values or of_shares[-1] in result or len(sizes_left) != 1:
            return None
        shared = "".join(letter for letter in of_shares if letter in of_values and letter in result)
        own = prefix.values_in(torch.Size(sizes[letter] for letter in shared), sizes[sizes_left[0]])
        written = f"{of_shares},{shared}{of_shares[-1]}{sizes_left[0]}->{result}"
        return torch.einsum(written, of_prefix, own.to(of_prefix.dtype))


def _spelled_out(term: str, axes: int) -> str:
    """A letter for each axis that an ellipsis stands for."""
    given = len(term.replace("...", ""))
    return string.ascii_uppercase[: axes - given] if "..." in term else ""
