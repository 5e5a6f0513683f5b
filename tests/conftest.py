"""Fixtures that every test may use."""

import pytest

from families import FAMILIES, Family
from runs import _offline, bert, config_file, gpt2, without_picture  # noqa: F401 - fixtures


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    """Each family in turn."""
    return FAMILIES[request.param]
