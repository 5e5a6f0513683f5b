"""The colours of pictures: the set of Okabe and Ito, which colour-blind readers can tell apart, and four greys.

In the page each is a variable of the style sheet, so that pictures follow a dark or a light screen.
"""

INK, MUTED, GRID, PAPER = "#1b1f24", "#5c6670", "#dfe3e8", "#fffffe"
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PURPLE: "--purple",
    SKY: "--sky",
    AMBER: "--amber",
}

SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER)
"""In the order in which lines are given them."""

SIZE = 11
"""Of letters, in pixels of the picture."""

STYLE = {
    "font.family": "sans-serif",
    "font.size": SIZE,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": SIZE + 1,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.parse_math": False,  # a name with two dollars is a name
    "svg.fonttype": "none",  # letters stay letters: they can be searched, read aloud and scaled
    "svg.hashsalt": "inarch",
}
