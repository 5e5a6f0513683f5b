"""The learning curve as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .atomic import replacing

Point = tuple[float, float]


def draw_curve(records: Sequence[Mapping[str, Any]], metrics: Sequence[str], best: str, path: Path) -> None:
    """Draw the losses above, the validation metrics below, over the steps, as a PNG.

    Args:
        records: Lines of metrics.jsonl.
        metrics: The names of the metrics to draw, without ``eval_``.
        best: The metric that chose the best adapter; its best point is marked.
        path: Where the picture goes.
    """
    from matplotlib.figure import Figure

    # A Figure of its own, not pyplot: no global state, and no display is looked for.
    figure = Figure(figsize=(7, 6), layout="constrained")
    losses, scores = figure.subplots(2, 1, sharex=True)
    _plot(losses, _points(records, "loss"), "training", marker=None)
    _plot(losses, _points(records, "eval_loss"), "validation")
    losses.set_ylabel("loss")
    for name in metrics:
        _plot(scores, _points(records, f"eval_{name}"), name, linewidth=2.5 if name == best else 1)
    _mark_best(losses if best == "loss" else scores, _points(records, f"eval_{best}"), best)
    scores.set_ylabel("validation metric")
    scores.set_xlabel("step")
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _points(records: Sequence[Mapping[str, Any]], name: str) -> list[Point]:
    return [(record["step"], record[name]) for record in records if name in record]


def _plot(axes: Any, points: Sequence[Point], label: str, marker: str | None = "o", linewidth: float = 1.5) -> None:
    steps, values = zip(*points, strict=True) if points else ((), ())
    axes.plot(steps, values, label=label, marker=marker, markersize=3.5, linewidth=linewidth)


def _mark_best(axes: Any, points: Sequence[Point], name: str) -> None:
    if not points:
        return
    choose = min if name == "loss" else max
    step, value = choose(points, key=lambda point: point[1])  # the first of equals, as Trainer chooses
    axes.axvline(step, color="0.5", linestyle=":", linewidth=1)
    axes.annotate(
        f"best {name} {value:.4f} at step {step}",
        (step, value),
        xytext=(6, -14),
        textcoords="offset points",
        fontsize=9,
    )
