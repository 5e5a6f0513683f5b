"""Learning rates: a grid of half-decades, and finer ones between them.

Every rate is read from a short decimal, so it is the same double on every machine: rates enter the names of runs.
"""

import math

GRID = (*(float(f"{digit}e{exponent}") for exponent in range(-6, 0) for digit in (1, 3)), 1.0)
"""Half-decades from 1e-6 to 1: 1, 3, 10, 30, ... No search leaves it."""


def is_allowed(rate: float) -> bool:
    """Whether a rate lies within the grid's bounds."""
    return GRID[0] <= rate <= GRID[-1]


def beyond(rate: float, *, upward: bool) -> float | None:
    """The next half-decade from a rate, which itself need not be of the grid; None at a bound."""
    nearest = min(range(len(GRID)), key=lambda place: abs(math.log(GRID[place] / rate)))
    place = nearest + (1 if upward else -1)
    return GRID[place] if 0 <= place < len(GRID) else None


def between(low: float, high: float) -> float | None:
    """The middle of two rates on a log scale, to two digits; None where no such rate lies strictly between.

    Between neighbours on the grid it is a quarter of a decade from either: 1.7 from 1 and 3, 5.5 from 3 and 10.
    """
    middle = float(f"{math.sqrt(low * high):.1e}")
    return middle if low < middle < high else None
