"""Cases that are alike: some of them in ``make test``, all of them in ``make coverage``."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import pytest


def one_of(cases: Sequence[Any]) -> list[Any]:
    """For ``parametrize``: the first case, and the others marked as thorough."""
    first, *others = cases
    marked = [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough) for case in others
    ]
    return [first, *marked]


def each_once(**cases: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrizes a test with every combination: as many as give each case a turn, and the others as thorough."""
    lists = [list(some) for some in cases.values()]
    turns = {tuple(turn % len(some) for some in lists) for turn in range(max(map(len, lists)))}
    combinations = [
        pytest.param(
            *(some[index] for some, index in zip(lists, indices, strict=True)),
            marks=() if indices in turns else pytest.mark.thorough,
            id="-".join(map(_called, cases, lists, indices)),
        )
        for indices in product(*(range(len(some)) for some in lists))
    ]
    return pytest.mark.parametrize(list(cases), combinations)


def _called(name: str, cases: Sequence[Any], index: int) -> str:
    """What a case is called in the name of its test."""
    case = cases[index]
    if isinstance(case, tuple):
        return "-".join(case)
    return str(case) if isinstance(case, str | int) else f"{name}{index}"
