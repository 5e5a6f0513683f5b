"""Fixtures that every test may use."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the commands that tests start: there is a worker on each core

import pytest

from families import FAMILIES, Family
from runs import _offline, bert, config_file, gpt2, without_picture  # noqa: F401 - fixtures


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    """Each family in turn."""
    return FAMILIES[request.param]
