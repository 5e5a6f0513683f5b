import json

import pytest
import torch

from inarch_benchmarks import quantised_training as benchmark
from inarch_benchmarks.quantised_training import Setting


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft calls transformers by an older name
def test_both_start_at_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters start at zero, so that the first losses are the base's, of the same bytes."""
    losses = []

    def noted(model: object, batch: dict[str, torch.Tensor]) -> None:
        losses.append(model(**batch).loss.item())  # type: ignore[operator]

    monkeypatch.setattr(benchmark, "_step", noted)
    for make in (benchmark.of_peft, benchmark.of_inarch):
        make(Setting("float32", 16, checkpointing=True))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_what_checkpointing_adds_is_compared() -> None:
    pair = Setting("float32", 8, checkpointing=False), Setting("float32", 8, checkpointing=True)
    rounds = {("peft", pair[0]): [10.0, 20.0, 1.0], ("peft", pair[1]): [14.0, 24.0, 90.0]}
    rounds |= {("inarch", pair[0]): [8.0, 18.0, 8.0], ("inarch", pair[1]): [10.0, 20.0, 10.0]}
    assert benchmark._added(pair, rounds) == 0.5


def test_the_committed_results_are_of_the_settings() -> None:
    document = json.loads(benchmark.RESULTS.read_text())
    assert [row["setting"] for row in document["rows"]] == [setting.name for setting in benchmark.SETTINGS]
    assert {"date", "cpu", "threads"} <= document["machine"].keys()
