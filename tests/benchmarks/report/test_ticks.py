from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from inarch_benchmarks.report.forgetting import LINEAR, TICKS
from inarch_benchmarks.report.picture import figure_of
from inarch_benchmarks.report.ticks import as_room_allows, in_round_steps


@pytest.mark.parametrize(("low", "high"), [(0.73, 0.91), (0.0, 1.0), (0.52, 0.55), (0.8, 0.86), (-1.2, 2.4)])
def test_ticks_say_where_they_are(low: float, high: float) -> None:
    figure = figure_of(400, 300)
    axes = figure.add_subplot()
    axes.set_ylim(low, high)
    in_round_steps(axes.yaxis)
    FigureCanvasAgg(figure).draw()
    shown = [
        (place, label.get_text())
        for place, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if low <= place <= high
    ]
    assert len(shown) >= 3
    assert all(float(text.replace("\N{MINUS SIGN}", "-")) == pytest.approx(place, abs=1e-9) for place, text in shown)


@pytest.mark.parametrize(("low", "high"), [(-0.004, 0.003), (-0.02, 6.8), (0.0, 14.0), (-1.2, 2.4), (-0.3, 900.0)])
def test_ticks_of_a_bent_axis_stand_apart(low: float, high: float) -> None:
    figure = figure_of(300, 200)
    axes = figure.add_subplot()
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.plot([low, high], [0, 1])
    as_room_allows(axes, TICKS)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = axes.get_xticklabels()
    assert len(labels) >= 3
    assert all(one.get_window_extent().x1 < other.get_window_extent().x0 for one, other in pairwise(labels))
    assert [float(label.get_text().replace("\N{MINUS SIGN}", "-")) for label in labels] == list(axes.get_xticks())
