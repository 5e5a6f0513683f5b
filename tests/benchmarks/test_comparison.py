import math
from pathlib import Path

import pytest
from scipy import stats

from inarch_benchmarks.embedded.adaptation import Run
from inarch_benchmarks.embedded.comparison import claims, difference, rows, verdict
from inarch_benchmarks.embedded.contenders import CONTROL, FULL, HEAD, LORA
from inarch_benchmarks.embedded.plot import save_plot

GOOD = {HEAD: (0.78, 0.80, 0.79), LORA: (0.86, 0.87, 0.88), FULL: (0.87, 0.87, 0.87), CONTROL: (0.77, 0.76, 0.78)}
TRAINABLE = {HEAD: 650, LORA: 29_322, FULL: 136_138, CONTROL: 29_322}


def planted(**changes: tuple[float, ...]) -> list[Run]:
    names = {"head": HEAD, "lora": LORA, "full": FULL, "control": CONTROL}
    accuracies = GOOD | {names[key]: values for key, values in changes.items()}
    return [
        Run(name, seed, accuracy, TRAINABLE[name], 136_138, 1.0 + seed)
        for name, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def test_rows() -> None:
    head, lora, full, _ = rows(planted())
    assert (head.contender, lora.contender) == (HEAD, LORA)
    assert head.accuracy == pytest.approx(0.79)
    assert head.spread == pytest.approx(0.01)
    assert (head.seconds, head.seeds) == (2.0, 3)
    assert full.share == 1.0


def test_a_difference_is_paired() -> None:
    gap = difference(planted(lora=(0.9, 0.8, 0.7), head=(0.8, 0.7, 0.6)), LORA, HEAD)
    assert gap.mean == pytest.approx(0.1)
    assert gap.margin == pytest.approx(0.0, abs=1e-12)
    assert gap.distinguishable


def test_the_margin_is_students() -> None:
    gap = difference(planted(lora=(0.3, 0.2, 0.1), head=(0.0, 0.0, 0.0)), LORA, HEAD)
    assert gap.margin == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3))
    assert not gap.distinguishable


def test_good_runs_keep_every_claim() -> None:
    assert claims(planted()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"control": (0.85, 0.86, 0.87)}, "not clearly better on the pretrained base"),
        ({"control": (0.70, 0.70, 0.89)}, "-1.0 points at worst"),
        ({"head": (0.88, 0.88, 0.88)}, "not better than training the head alone"),
        ({"full": (0.93, 0.93, 0.93)}, "does not come near full fine-tuning: -6.0 points"),
    ],
)
def test_a_claim_that_is_not_shown_is_named(changes: dict[str, tuple[float, ...]], said: str) -> None:
    (sentence,) = claims(planted(**changes))
    assert said in sentence


def test_the_verdict_tells_better_from_worse_from_alike() -> None:
    better, worse, alike = verdict(planted(full=(0.92, 0.94, 0.94), head=(0.8, 0.9, 0.9))).split(";")
    assert f"{LORA} is better than {CONTROL} (+10.0 points)" in better
    assert worse == f" worse than {FULL} (-6.3 points)"
    assert alike == f" and cannot be told from {HEAD} (+0.3 points)."


def test_one_seed_tells_nothing_apart() -> None:
    runs = [run for run in planted() if run.seed == 0]
    assert "One seed shows no spread" in verdict(runs)
    assert rows(runs)[0].spread == 0.0
    assert claims(runs) == []


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    save_plot(rows(planted()), tmp_path / "plot.png", "planted")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
