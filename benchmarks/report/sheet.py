"""A sheet: all panels of a chart side by side in one file."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from inarch_benchmarks.report.chart import Chart, Key
from inarch_benchmarks.report.picture import SHARPNESS, Picture, figure_of, pixels_of, style, svg_of
from inarch_benchmarks.report.theme import INK, PAPER, SIZE

HEADING, TITLE, LEGEND = 40, 26, 34
"""Pixels for the heading of the sheet, above each row of panels, and for the legend."""

MARGIN = 16

NARROW = 600
"""Panels up to this width stand three in a row."""


def sheet(chart: Chart, drawn: Sequence[Picture]) -> dict[str, bytes]:
    """A chart as a PNG and as an SVG file, by their names."""
    from PIL import Image

    frame = _frame(chart, drawn)
    with style():
        text, ground = svg_of(frame, chart.name), Image.fromarray(pixels_of(frame))
    nested = [picture.svg.replace("<svg", f'<svg x="{left}" y="{top}"', 1) for picture, left, top in _laid(drawn)]
    for picture, left, top in _laid(drawn):
        ground.alpha_composite(Image.fromarray(picture.pixels), (left * SHARPNESS, top * SHARPNESS))
    png = BytesIO()
    ground.convert("RGB").save(png, format="PNG", compress_level=3)  # 6 takes three times as long
    return {
        f"{chart.name}.svg": text.replace("</svg>", "\n".join([*nested, "</svg>"])).encode(),
        f"{chart.name}.png": png.getvalue(),
    }


def _rows(drawn: Sequence[Picture]) -> list[Sequence[Picture]]:
    across = 3 if drawn[0].panel.width <= NARROW else 1
    if len(drawn) == 4:
        across = min(across, 2)
    return [drawn[start : start + across] for start in range(0, len(drawn), across)]


def _laid(drawn: Sequence[Picture]) -> Iterator[tuple[Picture, int, int]]:
    """Every picture with its left and its top."""
    top = HEADING
    for row in _rows(drawn):
        left, top = 0, top + TITLE
        for picture in row:
            yield picture, left, top
            left += picture.panel.width
        top += max(picture.panel.height for picture in row)


def _frame(chart: Chart, drawn: Sequence[Picture]) -> Any:
    """Everything but the panels: heading, titles, legend."""
    ends = [(left + one.panel.width, top + one.panel.height) for one, left, top in _laid(drawn)]
    width = max(right for right, _ in ends)
    height = max(bottom for _, bottom in ends) + (LEGEND if chart.keys else 0)
    with style():
        figure = figure_of(width, height)
        figure.patch.set_facecolor("white")
        figure.text(MARGIN / width, 1 - 26 / height, chart.title, fontsize=SIZE + 5, fontweight="bold", color=INK)
        for picture, left, top in _laid(drawn):
            place = (left + MARGIN) / width, 1 - (top - 2) / height
            figure.text(*place, picture.panel.title, fontsize=SIZE + 1, fontweight="bold", color=INK)
        if chart.keys:
            figure.legend(
                handles=[_handle(key) for key in chart.keys], loc="lower left", ncols=len(chart.keys), frameon=False
            )
    return figure


def _handle(key: Key) -> Any:
    from matplotlib.lines import Line2D

    face = key.colour if key.filled else PAPER
    return Line2D(
        [],
        [],
        color=key.colour,
        marker=key.marker,
        linestyle=key.line,
        label=key.label,
        markersize=6,
        markerfacecolor=face,
    )
