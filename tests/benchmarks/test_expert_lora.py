import json

import pytest
import torch

from inarch_benchmarks import expert_lora


def test_multiples_are_of_the_bare_model_s_median() -> None:
    seconds = {
        "forward, 1 token": {"bare": [1.0, 2.0, 9.0], "inarch": [3.0, 3.0, 4.0], "peft": [20.0, 10.0, 20.0]},
        "train step, 64 tokens": {"bare": [1.0, 1.0], "inarch": [2.0, 2.0], "peft": [3.0, 3.0]},
    }
    one, step = expert_lora.summary(seconds)
    assert one["multiple"] == {"inarch": pytest.approx(1.5), "peft": pytest.approx(10)}
    assert one["milliseconds"]["bare"] == pytest.approx(2000)
    assert one["goal"] == 3.0
    assert step["goal"] is None


@pytest.mark.thorough
def test_every_operation_is_measured_for_all_three() -> None:
    torch.manual_seed(0)
    measured = expert_lora.measure(expert_lora.mixture(width=32), repeats=1)
    assert set(measured) == {"forward, 1 token", "forward, 64 tokens", "train step, 64 tokens"}
    assert all(set(times) == {"bare", "inarch", "peft"} for times in measured.values())


def test_both_adapt_the_experts_and_nothing_else_by_as_many_parameters() -> None:
    base = expert_lora.mixture(width=32)
    ours, theirs = expert_lora.with_inarch(base), expert_lora.with_peft(base)
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad) for model in (ours, theirs)]
    assert counts[0] == counts[1] == 64 * 8 * ((32 + 32) + (16 + 32))


def test_the_committed_results_say_where_they_were_measured() -> None:
    document = json.loads(expert_lora.RESULTS.read_text())
    assert {"date", "cpu", "threads", "python", "torch", "peft"} <= set(document["machine"])
    assert {row["operation"] for row in document["results"]} >= {"forward, 1 token"}
