"""Panels become pictures, drawn once: as SVG for the page, and as letters and pixels for files."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup

from inarch_benchmarks.report.chart import Canvas, Chart, Panel
from inarch_benchmarks.report.theme import STYLE, VARIABLES

DPI = 72
"""At which matplotlib's points are pixels."""

SHARPNESS = 2
"""Pixels of a PNG file for one of the panel."""

TOP, RIGHT, BOTTOM = 14, 22, 44
"""Pixels around the axes of a panel."""


@dataclass(frozen=True)
class Picture:
    """A panel, drawn.

    Attributes:
        panel: What it is of.
        svg: As SVG in the colours of paper; its ids begin with those of its chart.
        pixels: As an array of red, green, blue and opacity, ``SHARPNESS`` times as large.
    """

    panel: Panel
    svg: str
    pixels: Any

    @property
    def inline(self) -> Markup:
        """As SVG for the page: colours and letters from the style sheet, and words for those who do not see it."""
        panel = self.panel
        text = re.sub(
            r"<svg[^>]*>",
            f'<svg viewBox="0 0 {panel.width} {panel.height}" role="img" aria-label={quoteattr(panel.alt)} '
            f'style="--wide: {panel.width}px">',
            self.svg,
            count=1,
        )
        text = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 var(--sans)", text)
        for colour, variable in VARIABLES.items():
            text = text.replace(colour, f"var({variable})")
        return Markup(text)


def pictures(chart: Chart) -> list[Picture]:
    """The panels of a chart, drawn."""
    return [_picture(panel, f"{chart.name}-{number}") for number, panel in enumerate(chart.panels)]


def load_matplotlib() -> None:
    """Import all that is drawn with."""
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg  # noqa: F401


def figure_of(width: float, height: float) -> Any:
    """An empty figure of matplotlib, sized in pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI)


def svg_of(figure: Any, prefix: str) -> str:
    """A figure as an ``svg`` element whose ids begin with ``prefix``."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    told = text.getvalue()
    told = re.sub(r"<metadata>.*?</metadata>", "", told[told.index("<svg") :], flags=re.DOTALL)
    told = re.sub(rf'id="(?!{re.escape(prefix)}-)([^"]*)"', rf'id="{prefix}-\1"', told)
    told = re.sub(r'href="#([^"]*)"', rf'href="#{prefix}-\1"', told)
    return re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", told)


def pixels_of(figure: Any) -> Any:
    """A figure as an array of red, green, blue and opacity."""
    import numpy
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI * SHARPNESS)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return numpy.array(canvas.buffer_rgba())


@contextmanager
def style() -> Iterator[None]:
    """Inside, matplotlib draws as our pictures are drawn."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        yield


def _picture(panel: Panel, prefix: str) -> Picture:
    with style():
        figure, tips = figure_of(panel.width, panel.height), dict[str, str]()
        axes = figure.add_axes(_inner(panel))
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        panel.draw(Canvas(axes, prefix, tips))
        text = _with_tips(svg_of(figure, prefix), tips)
        return Picture(panel, text, pixels_of(figure))


def _inner(panel: Panel) -> Sequence[float]:
    """Where the axes are, in shares of the panel."""
    across, along = panel.width - panel.left - RIGHT, panel.height - TOP - BOTTOM
    return panel.left / panel.width, BOTTOM / panel.height, across / panel.width, along / panel.height


def _with_tips(text: str, tips: dict[str, str]) -> str:
    for name, told in tips.items():
        text = text.replace(f'<g id="{name}">', f'<g class="tip" id="{name}"><title>{escape(told)}</title>')
    return text
