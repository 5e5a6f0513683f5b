"""Cases that are alike: one of them in ``make test``, all of them in ``make coverage``."""

from collections.abc import Sequence
from typing import Any

import pytest


def one_of(cases: Sequence[Any]) -> list[Any]:
    """For ``parametrize``: the first case, and the others marked as thorough."""
    first, *others = cases
    marked = [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough) for case in others
    ]
    return [first, *marked]
