from pathlib import Path

import pytest

from inarch.training.curve import draw_curve

RECORDS = [
    {"step": 2, "epoch": 0.5, "loss": 0.9},
    {"step": 4, "epoch": 1.0, "loss": 0.7},
    {"step": 4, "epoch": 1.0, "eval_loss": 0.8, "eval_f1": 0.5, "eval_accuracy": 0.6},
    {"step": 8, "epoch": 2.0, "loss": 0.3},
    {"step": 8, "epoch": 2.0, "eval_loss": 0.6, "eval_f1": 0.8, "eval_accuracy": 0.7},
]


def test_draws_a_picture_and_nothing_else(tmp_path: Path) -> None:
    draw_curve(RECORDS, ("f1", "accuracy"), "f1", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


@pytest.mark.parametrize("best", ["loss", "f1"])
def test_draws_a_run_that_was_never_evaluated(tmp_path: Path, best: str) -> None:
    draw_curve(RECORDS[:2], ("f1",), best, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()
