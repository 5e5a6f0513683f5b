from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from inarch_benchmarks.analysis.entry import Trial
from inarch_benchmarks.report.chart import Canvas
from inarch_benchmarks.report.picture import figure_of, style
from inarch_benchmarks.report.place import Place, places
from inarch_benchmarks.report.trials import trials

from made_up import findings

HALF_DECADES = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3]


def tried(seed: int) -> Place:
    """A place whose contenders tried half decades of their own, and some rates between these."""
    dice = Random(seed)
    place = places(findings())[0]
    rows = []
    for row in place.rows:
        first, last = sorted(dice.sample(range(len(HALF_DECADES)), 2))
        rates = HALF_DECADES[first : last + 1] + [dice.choice(HALF_DECADES) * 1.73 for _ in range(dice.randrange(3))]
        tries = tuple(Trial({"learning_rate": rate}, dice.random(), chosen=rate == rates[0]) for rate in rates)
        rows.append(replace(row, entry=replace(row.entry, trials=tries)))
    return replace(place, rows=tuple(rows))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_written_over_another(seed: int) -> None:
    chart = trials([tried(seed)])
    assert chart is not None
    panel = chart.panels[0]
    with style():
        figure = figure_of(panel.width, panel.height)
        axes = figure.add_axes((panel.left / panel.width, 0.1, 1 - (panel.left + 22) / panel.width, 0.85))
        panel.draw(Canvas(axes, "a", {}))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    labels = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(labels) >= 3
    assert all(one.x1 < other.x0 for one, other in pairwise(labels))
    marks = [axes.transData.transform((line.get_xdata()[-1], 0))[0] for line in axes.lines if line.get_marker() == "o"]
    scores = [text.get_window_extent() for text in axes.texts]
    assert max(marks) < min(score.x0 for score in scores)
