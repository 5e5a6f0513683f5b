"""A chart: panels that are drawn into the page one by one, and into a PNG and an SVG file together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 450, 370


@dataclass(frozen=True)
class Canvas:
    """Where a panel is drawn.

    Attributes:
        axes: Of matplotlib.
        prefix: Of ids, so that those of two panels in one page differ.
        tips: What is said of each marked artist, by its id.
    """

    axes: Any
    prefix: str
    tips: dict[str, str]

    def tip(self, artist: Any, text: str) -> None:
        """Say ``text`` where a pointer rests on ``artist``, and to those who are read the page."""
        name = f"{self.prefix}-{len(self.tips)}"
        artist.set_gid(name)
        self.tips[name] = text


@dataclass(frozen=True)
class Key:
    """One line of a legend: a colour and what it means."""

    colour: str
    label: str
    marker: str = "o"
    line: str = "none"
    filled: bool = True


@dataclass(frozen=True)
class Panel:
    """One picture of a chart.

    Attributes:
        title: Above it; the task, as a rule.
        alt: What it shows, for those who do not see it.
        draw: Draws it.
        width: In pixels.
        height: In pixels.
        left: Pixels left of the axes, for names.
    """

    title: str
    alt: str
    draw: Callable[[Canvas], None]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = 56


@dataclass(frozen=True)
class Chart:
    """Several panels that show the same of several tasks.

    Attributes:
        name: Of its files, without the ending; also its anchor in the page.
        short: What it is called in the list of sections.
        title: Its heading.
        caption: How it is read.
        panels: One a task, as a rule.
        keys: Its legend.
    """

    name: str
    short: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    keys: tuple[Key, ...] = ()
