"""Rows that are held out of a training split, for validation."""

import random

SHARE = 0.1
MOST = 2000


def held_out(rows: int, most: int = MOST) -> tuple[list[int], list[int]]:
    """The numbers of the rows that are trained on and of those that are held out, always the same for so many rows.

    Args:
        rows: Of the training split; at least two.
        most: Held out are ``SHARE`` of them, but no more than this.
    """
    order = shuffled(rows)
    size = max(1, min(most, round(SHARE * rows)))
    return sorted(order[size:]), sorted(order[:size])


def shuffled(rows: int) -> list[int]:
    """The numbers below ``rows`` in an order that is always the same, with every version of Python."""
    draw = random.Random(0)
    keys = [draw.random() for _ in range(rows)]
    return sorted(range(rows), key=keys.__getitem__)
