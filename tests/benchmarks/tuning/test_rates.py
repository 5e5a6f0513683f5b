import math
from itertools import pairwise

import pytest

from inarch_benchmarks.tuning.rates import GRID, between, beyond


def test_the_grid_is_of_half_decades_that_are_short_decimals() -> None:
    assert GRID == (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
    assert all(0.47 < math.log10(high / low) < 0.53 for low, high in pairwise(GRID))


@pytest.mark.parametrize(
    ("rate", "down", "up"),
    [
        (3e-4, 1e-4, 1e-3),
        (1e-3, 3e-4, 3e-3),
        (2e-4, 1e-4, 1e-3),
        (3.16e-4, 1e-4, 1e-3),
        (1e-6, None, 3e-6),
        (1.0, 0.3, None),
    ],
)
def test_beyond_a_rate_is_the_next_half_decade(rate: float, down: float | None, up: float | None) -> None:
    assert (beyond(rate, upward=False), beyond(rate, upward=True)) == (down, up)


def test_between_two_rates_is_a_quarter_of_a_decade() -> None:
    assert between(1e-3, 3e-3) == 1.7e-3  # the square root of 3
    assert between(3e-3, 1e-2) == 5.5e-3  # of 30
    assert between(1.0e-3, 1.1e-3) is None  # 1.05 rounds to either
