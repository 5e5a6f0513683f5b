from pathlib import Path

import pytest
import torch

from inarch_benchmarks import loading

from sampled import one_of


def test_figures_are_medians_and_what_is_beside_the_model_is_shown() -> None:
    rounds = [{"peak": peak, "model": 40.0} for peak in (50.0, 90.0, 52.0)]
    row = loading.summary(rounds)
    assert row == {"peak": 52.0, "model": 40.0}
    table = loading.show({"largest_tensor": 6.0, "results": {"nf4": row}})
    assert [list(column.cells) for column in table.columns] == [["nf4"], ["40"], ["52"], ["12"]]


def test_memory_of_ones_own_is_seen() -> None:
    peak = [before := loading.own_memory()]
    with loading.watched(peak):
        held = torch.ones(64 << 20, dtype=torch.uint8)
        loading.threading.Event().wait(0.1)
    assert peak[0] - before > 0.9 * held.numel()


@pytest.mark.parametrize("way", one_of(list(loading.WAYS)))
def test_every_way_is_measured(way: str, tmp_path: Path) -> None:
    loading.save(loading.SMALL, tmp_path)
    figures = loading.measure(way, str(tmp_path), str(tmp_path))
    # a map in bfloat16; codes, scales, their table and scale, the table of codes; codes, scales, layout
    sizes = {"bfloat16": 2 * 64 * 64, "int8": 64 * 64 + 4 * 64 + 1}
    size = sizes.get(way, 64 * 64 // 2 + 64 + 4 + 4 * 256 + 4 * 16)
    facts = 0 if way in sizes else 200  # at most, in JSON
    rest = 2 * (2 * 64 * 40 + 3 * 64)
    assert figures["peak"] >= 0
    assert 7 * size + rest <= round(figures["model"] * 1e6) <= 7 * (size + facts) + rest
