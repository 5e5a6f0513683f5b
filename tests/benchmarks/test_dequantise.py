from typing import Any

import pytest
import torch

from inarch_benchmarks import dequantise

TOLERANCES = {"NF4, double": 0.0, "NF4, double, rank 16 added": 1e-5, "int8": 1e-6}


@pytest.mark.parametrize("name", dequantise.WORKS)
def test_every_contender_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    quantise, work = dequantise.WORKS[name]
    contenders = work(quantise(torch.randn(64, 128)), torch.float32)
    ours, new, theirs = (contenders[who]() for who in (dequantise.OURS, dequantise.NEW, dequantise.THEIRS))
    assert torch.equal(ours, new)
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCES[name], atol=TOLERANCES[name])


def test_a_ratio_is_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dequantise, "SHAPES", ((64, 128),))
    rows: list[dict[str, Any]] = dequantise.measured(torch.device("cpu"), [1], repeats=2)
    assert len(rows) == len(dequantise.WORKS) * len(dequantise.DTYPES)
    for row in rows:
        assert row["ratios"][dequantise.OURS] * row["milliseconds"][dequantise.THEIRS] == pytest.approx(
            row["milliseconds"][dequantise.OURS]
        )
