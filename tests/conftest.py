"""Fixtures that every test may use."""

import pytest

from families import FAMILIES, Family


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    """Each family in turn."""
    return FAMILIES[request.param]
