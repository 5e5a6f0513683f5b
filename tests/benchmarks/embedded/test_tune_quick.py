import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from inarch_benchmarks.embedded import tune_quick
from inarch_benchmarks.embedded.tune_quick import START, fill, neighbour, next_rate


def test_half_decades() -> None:
    assert [neighbour(1e-3, steps) for steps in (-2, -1, 0, 1, 2)] == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    assert [neighbour(3e-3, steps) for steps in (-1, 1)] == [1e-3, 1e-2]


@pytest.mark.parametrize(
    ("best", "tried"), [(3e-3, START), (1e-2, (*START, 3e-2)), (1e-3, (3e-4, *START)), (1e-1, (*START, 3e-2, 1e-1))]
)
def test_a_grid_goes_on_until_the_best_is_inside(best: float, tried: tuple[float, ...]) -> None:
    grid: dict[str, float] = {}
    while (rate := next_rate(grid)) is not None:
        grid[f"{rate:g}"] = -abs(rate - best)
    assert sorted(map(float, grid)) == sorted(tried)


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def scores(name: str, label: str, rate: float) -> list[float]:
        asked.append(rate)
        return [0.5, 1 - rate]

    monkeypatch.setattr(tune_quick, "RESULTS", tmp_path / "rates.json")
    monkeypatch.setattr(tune_quick, "_scores", scores)
    monkeypatch.setattr(tune_quick, "task", lambda name: SimpleNamespace(metric="accuracy", fingerprint=lambda: "data"))
    assert fill("digits", "head") == fill("digits", "head")
    assert len(asked) == len(set(asked)) == 5
    written = json.loads((tmp_path / "rates.json").read_text())
    assert written["digits"]["validation"]["head"]["0.001"] == pytest.approx(0.7495)
    assert tune_quick.best_rates("head") == {"digits": 1e-4}
