from collections.abc import Iterator

import pytest

from inarch_benchmarks.comparison.model import Base

from small_bases import SMALL


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Base]]:
    """Small bases by name, in a cache folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield {name: model().prepare(lambda work: None) for name, model in SMALL.items()}
