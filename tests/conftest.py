"""Fixtures that every test may use."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the commands that tests start: there is a worker on each core
os.environ.setdefault(
    "TRITON_INTERPRET", "1"
)  # kernels are held against plain torch on a CPU; read when Triton is imported

import pytest

from inarch.testing import FAMILIES as KIT
from inarch.testing import LAWS
from inarch.testing import Family as KitFamily

from families import FAMILIES, Family
from runs import _offline, bert, config_file, gpt2, without_picture  # noqa: F401 - fixtures

FIRST = "llama"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What compiles a model takes seconds: ``make test`` holds it on one model, ``make coverage`` on every other."""
    for item in items:
        if isinstance(item, pytest.Function) and _compiles_another(item):
            item.add_marker(pytest.mark.thorough)


def _compiles_another(item: pytest.Function) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    models = {getattr(value, "name", value) for value in parameters.values() if isinstance(value, (str, Family))}
    models |= {value.name for value in parameters.values() if isinstance(value, KitFamily)}
    compiles = "compile" in item.originalname or parameters.get("law") is LAWS[7]
    return compiles and not models.isdisjoint(KIT) and FIRST not in models


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    """Each family in turn."""
    return FAMILIES[request.param]
