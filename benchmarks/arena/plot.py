"""The picture: passed, refused and failed cells, by method and by task."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inarch_benchmarks.arena.arena import Row
from inarch_benchmarks.arena.cell import FAILED, PASSED, REFUSED

COLOURS = {PASSED: "#1f5fa8", REFUSED: "#d9d9d9", FAILED: "#c2371a"}
TEXT = "#333333"


def save_plot(rows: Sequence[Row], methods: Sequence[str], path: Path) -> None:
    """Draw a bar for every method in every task into a PNG: its parts are the shares of the outcomes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    built = [row for row in rows if not row.unbuilt]
    tasks = sorted({row.entry.task for row in built})
    figure = Figure(figsize=(11, 1.4 + 0.28 * len(tasks) * (len(methods) + 1) / 2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(-(-len(tasks) // 2), 2, squeeze=False)
    for place, task in zip(axes.flat, tasks, strict=False):
        _draw(place, task, [row for row in built if row.entry.task == task], methods)
    for place in list(axes.flat)[len(tasks) :]:
        place.set_axis_off()
    figure.suptitle(f"{len(built)} architectures", x=0.01, ha="left", color=TEXT, fontsize=12)
    handles = [axes.flat[0].barh([], [], color=colour, label=outcome) for outcome, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(COLOURS), frameon=False, labelcolor=TEXT)
    figure.savefig(path)


def _draw(axes: Any, task: str, rows: Sequence[Row], methods: Sequence[str]) -> None:
    for position, method in enumerate(methods):
        outcomes = Counter(row.cells[method].outcome for row in rows if method in row.cells)
        start = 0
        for outcome, colour in COLOURS.items():
            count = outcomes[outcome]
            axes.barh(position, count, left=start, color=colour, height=0.75)
            if count:
                dark = outcome != REFUSED
                axes.text(
                    start + count / 2, position, str(count), ha="center", va="center", fontsize=7,
                    color="white" if dark else TEXT, clip_on=True,
                )  # fmt: skip
            start += count
    axes.set_title(f"{task}: {len(rows)}", loc="left", fontsize=9, color=TEXT)
    axes.set_yticks(range(len(methods)), methods, fontsize=8, color=TEXT)
    axes.invert_yaxis()
    axes.set_xlim(0, len(rows))
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
