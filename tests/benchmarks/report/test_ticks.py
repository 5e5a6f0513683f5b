import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from inarch_benchmarks.report.picture import figure_of
from inarch_benchmarks.report.ticks import in_round_steps


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
