"""How figures look: colours, type and lines.

Text is 8 to 9 pt. Colours are Okabe and Ito's for categories and a part of viridis for ordered
levels: both keep apart under the common forms of colour blindness; markers and dashes differ as
well. Glyphs are drawn as outlines, so that a file looks the same wherever it is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from analysis.drawing.plot import Series

INK = "#1a1a1a"
GROUND = "#ffffff"
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
HUES_ON_DARK = ("#56b4e9", "#ff8a3d", "#2fc79a", "#e6a3c8", "#f5b83d", "#8fd0f5")
SHADES = tuple(to_hex(c) for c in colormaps["viridis"](np.linspace(0.0, 0.82, 12)))
SHADES_ON_DARK = tuple(to_hex(c) for c in colormaps["viridis"](np.linspace(0.34, 1.0, 12)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

STYLE: dict[Any, Any] = {
    "font.family": ["STIXGeneral"],  # ships with matplotlib, matches a paper set in Times
    "font.size": 9.0,
    "mathtext.fontset": "stix",
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "axes.titley": 1.0,  # a fixed height spares matplotlib a second layout of every tick
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.2,
    "svg.fonttype": "path",
    "svg.hashsalt": "scorerates",
    "pdf.fonttype": 42,
    "path.simplify": False,
    "savefig.dpi": 300,  # of what is drawn as an image
}

DOT = 3.6  # size of a faint dot, twice its diameter


def palette_css() -> str:
    """CSS custom properties for the inline form: on light ground, then on dark screens."""
    pairs = list(zip(HUES + SHADES, HUES_ON_DARK + SHADES_ON_DARK, strict=True))
    light = "".join(f"--c-{a[1:]}:{a};" for a, _ in pairs)
    dark = "".join(f"--c-{a[1:]}:{b};" for a, b in pairs)
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def colour(series: Series) -> str:
    """The series' colour on white, as `#rrggbb`."""
    if series.shade is None:
        return HUES[series.hue % len(HUES)]
    return SHADES[round(min(max(series.shade, 0.0), 1.0) * (len(SHADES) - 1))]


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's settings as figures have them, for a while: nothing of the user's own."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield
