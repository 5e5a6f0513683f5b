import json

import pytest
import torch
from torch import nn

from inarch_benchmarks import overhead
from inarch_benchmarks.side_by_side import PACKAGES


def test_ratios_are_of_medians_and_overheads_of_what_is_above_the_bare_model() -> None:
    seconds = {
        "save": {"inarch": [0.001, 0.002, 9.0], "peft": [0.010, 0.008, 0.009]},
        "one-token forward": {"bare": [1.0, 1.0, 1.0], "inarch": [1.2, 1.2, 1.2], "peft": [1.5, 1.5, 1.5]},
    }
    save, forward = overhead.summary(seconds)
    assert save["ratio"] == pytest.approx(0.002 / 0.009)
    assert save["goal"] == 0.2
    assert save["milliseconds"] == {"inarch": pytest.approx(2.0), "peft": pytest.approx(9.0)}
    assert forward["operation"] == "one-token forward, overhead over the bare model"
    assert forward["ratio"] == pytest.approx(0.2 / 0.5)
    assert {row["operation"] for row in (save, forward)} <= set(overhead.GOALS)


@pytest.mark.thorough
def test_every_operation_is_measured_for_both() -> None:
    one, batch = torch.randn(1, 8), torch.randn(2, 8)
    small = overhead.Subject("small", lambda: nn.Sequential(nn.Linear(8, 8)), "0", one, batch, lambda out: out.mean())
    measured = overhead.measure(small, repeats=1)
    assert set(measured) == {"attach", "one-token forward", "train step", "disable", "save", "load"}
    assert all({"inarch", "peft"} <= set(times) for times in measured.values())


def test_the_committed_results_say_where_they_were_measured() -> None:
    machine = json.loads(overhead.RESULTS.read_text())["machine"]
    assert {"date", "cpu", "threads", "python", *PACKAGES} <= set(machine)
