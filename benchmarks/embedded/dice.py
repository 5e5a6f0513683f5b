"""Chance that is the same on every machine and under every version of Python."""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")


class Dice:
    """Numbers by chance from ``random.Random(seed).random()`` alone, whose values no Python version changes."""

    def __init__(self, seed: int) -> None:
        self._next = random.Random(seed).random

    def uniform(self, low: float, high: float, *shape: int) -> NDArray[np.float64]:
        """Uniform numbers in [low, high) of a shape."""
        return low + (high - low) * np.array([self._next() for _ in range(math.prod(shape))]).reshape(shape)

    def below(self, count: int) -> int:
        """One of 0, ..., count - 1."""
        return int(self._next() * count)

    def chance(self, share: float) -> bool:
        """True in this share of the throws."""
        return self._next() < share

    def one_of(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.below(len(items))]

    def some_of(self, items: Sequence[Item], count: int) -> list[Item]:
        """Some of the items, each at most once, in an order by chance."""
        left = list(items)
        for place in range(count):
            other = place + self.below(len(left) - place)
            left[place], left[other] = left[other], left[place]
        return left[:count]
