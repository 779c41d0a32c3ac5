"""Draws plots with matplotlib: vector figures for a paper, and inline SVG for a page.

Sizes are those of a two-column paper: a panel is 3.4 in wide, a plot of several panels 7 in, text
8 to 9 pt. Colours are Okabe and Ito's for categories and a part of viridis for ordered levels: both
keep apart under the common forms of colour blindness; markers and dashes differ as well. Glyphs
are drawn as outlines, so that a file looks the same wherever it is opened.

The inline form has a transparent ground, ink in `currentColor`, and each colour as a CSS variable
named after its value on white (`--c-0072b2`), for which `palette_css` gives values on light and on
dark ground.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from analysis.drawing.plot import Panel, Plot, Series, plain

SINGLE, DOUBLE = 3.4, 7.0
"""Widths of a column and of a page, inches."""
ROWS = 5.2
"""Width of a panel of rows, which have names at their left."""

INK = "#1a1a1a"
_GROUND = "#ffffff"
_HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_HUES_ON_DARK = ("#56b4e9", "#ff8a3d", "#2fc79a", "#e6a3c8", "#f5b83d", "#8fd0f5")
_SHADES = tuple(to_hex(c) for c in colormaps["viridis"](np.linspace(0.0, 0.82, 12)))
_SHADES_ON_DARK = tuple(to_hex(c) for c in colormaps["viridis"](np.linspace(0.34, 1.0, 12)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

_STYLE: dict[Any, Any] = {
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

_FURTHEST = 3  # of a band from the values that it belongs to
_DOT = 3.6  # size of a faint dot, twice its diameter
_LINE_OF_DOTS = 20
_MARKS = 2000  # of a cloud: more are drawn as one image, which a page can hold

# Margins in inches: fixed, so that the axes of two figures line up in a paper.
_LEFT, _RIGHT, _BOTTOM, _TOP, _GAP, _ROW = 0.66, 0.12, 0.42, 0.08, 0.76, 0.16
_HEIGHT, _BELOW = 1.85, 0.75
_POINT, _LETTER = 0.058, 0.057  # of a panel of rows: height of a point, width of a letter


def palette_css() -> str:
    """CSS custom properties for the inline form: on light ground, then on dark screens."""
    pairs = list(zip(_HUES + _SHADES, _HUES_ON_DARK + _SHADES_ON_DARK, strict=True))
    light = "".join(f"--c-{a[1:]}:{a};" for a, _ in pairs)
    dark = "".join(f"--c-{a[1:]}:{b};" for a, b in pairs)
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def colour(series: Series) -> str:
    """The series' colour on white, as `#rrggbb`."""
    if series.shade is None:
        return _HUES[series.hue % len(_HUES)]
    return _SHADES[round(min(max(series.shade, 0.0), 1.0) * (len(_SHADES) - 1))]


@contextmanager
def _styled() -> Iterator[None]:
    with mpl.rc_context(_STYLE):
        yield


def draw(plot: Plot, width: float | None = None) -> Figure:
    """`plot` on a new matplotlib figure, panels side by side, `width` inches wide (default: a
    column for one panel, a page for more). Change what you like, then `savefig`."""
    with _styled():
        return _draw(plot.panels, width or _width(plot.panels))


def _width(panels: Sequence[Panel]) -> float:
    if len(panels) > 1:
        return DOUBLE
    return ROWS if panels[0].rows else SINGLE


@dataclass(frozen=True)
class Drawn:
    """A plot as file contents, and as one inline SVG element a panel, without what stands below it
    in print. glyphs: what these draw letters with, by id, which a page holds once."""

    svg: str
    pdf: bytes
    inline: tuple[str, ...]
    glyphs: Mapping[str, str] = field(default_factory=dict)


def render(plot: Plot, key: str = "f") -> Drawn:
    """`plot` as SVG and PDF, the same bytes for the same numbers, and its panels for a page, on
    which `key` tells it from others."""
    with _styled():
        figure = draw(plot)
        svg = _svg(figure)
        pdf = _pdf(figure)
        alone = [_svg(_draw((replace(p, below=None),), _width((p,)))) for p in plot.panels]
    glyphs: dict[str, str] = {}
    texts = tuple(
        _inline(
            text,
            f"{key}-{i}",
            plot.alt if i == 0 else f"{plot.title}, part {i + 1}",
            glyphs,
        )
        for i, text in enumerate(alone)
    )
    return Drawn(svg, pdf, texts, glyphs)


def save(figure: Figure, stem: Path) -> None:
    """Writes `figure` as stem.svg and stem.pdf, as `render` does: the same bytes for the same
    figure, fonts embedded whole (matplotlib's default, Type 3, is refused by many publishers)."""
    with _styled():
        stem.with_name(f"{stem.name}.svg").write_text(_svg(figure), encoding="utf-8")
        stem.with_name(f"{stem.name}.pdf").write_bytes(_pdf(figure))


def written(figure: Figure, suffix: str) -> bytes:
    """`figure` as a file whose name ends in `.svg`, `.pdf` or else `.png`; the first two as `save`
    writes them."""
    with _styled():
        if suffix == ".svg":
            return _svg(figure).encode()
        if suffix == ".pdf":
            return _pdf(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def _pdf(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    # Paths to a thousandth of a point: a third less to store and to read.
    return re.sub(
        r' d="[^"]*"',
        lambda path: re.sub(r"(\.\d{3})\d+", r"\1", path.group()),
        buffer.getvalue(),
    )


_GLYPH = re.compile(r'<path id="(STIX[^"]*|DejaVu[^"]*)"(?: d="([^"]*)")?([^>]*)/>')
_WORD = re.compile(r'<g( style="[^"]*" transform="[^"]*")>((?:<use href="#[A-Z]\w*"[^>]*/>)+)</g>')
_RUN = re.compile(r'(?:<use href="#[^"]*" x="[^"]*" y="[^"]*" style="[^"]*"/>\s*){2,}')


def _inline(svg: str, prefix: str, title: str, glyphs: dict[str, str]) -> str:
    """The `<svg>` element of a file for use within a page: no ground, colours as CSS variables, ids
    short and kept apart from those of other figures by `prefix`, glyphs and words of them taken out
    into `glyphs`; `title` is plain text, escaped here. A fifth of the bytes of the file."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "",
                 svg[svg.index("<svg") :], flags=re.DOTALL)  # fmt: skip
    # The ground is the first white patch; later ones are edges of markers, and take the page's.
    svg = svg.replace(f"fill: {_GROUND}", "fill: none", 1)
    svg = svg.replace(_GROUND, "var(--ground)").replace(INK, "currentColor")
    svg = svg.replace("xlink:href", "href")
    ours = {*_HUES, *_SHADES}
    svg = re.sub(
        r"#[0-9a-f]{6}\b(?!\))",
        lambda m: f"var(--c-{m.group()[1:]})" if m.group() in ours else m.group(),
        svg,
    )
    # A figure names what it refers to, and nothing else; letters are named alike in all.
    own = {}
    for name, path, more in _GLYPH.findall(svg):
        own[name] = re.sub(r"^STIXGeneral|^DejaVu|-", "", name)
        glyphs[own[name]] = f'<path id="{own[name]}" d="{_short(path)}"{more}/>'
    svg = _GLYPH.sub("", svg)
    for name in re.findall(r"(?:href=\"|url\()#([^\")]+)", svg):
        own.setdefault(name, f"{prefix}-{len(own)}")
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{own[m[1]]}"' if m[1] in own else "", svg)
    svg = re.sub(r"(href=\"|url\()#([^\")]+)", lambda m: f"{m[1]}#{own[m[2]]}", svg)
    svg = re.sub(r'\bd="([^"]*)"', lambda m: f'd="{_short(m[1])}"', svg)
    svg = re.sub(r'(?<= [xy])="(-?\d+\.\d)\d+"', r'="\1"', svg)
    svg = re.sub(
        r'(<use href="[^"]*") transform="translate\((-?[\d.]+) (-?[\d.]+)\)"',
        lambda m: f'{m[1]} x="{float(m[2]):.4g}"' + f' y="{float(m[3]):.3g}"' * (float(m[3]) != 0),
        svg,
    )
    svg = re.sub(r"\s*\n\s*|<defs>\s*</defs>", "", svg)
    svg = _RUN.sub(_together, svg)

    def word(found: re.Match[str]) -> str:
        name = f"t{crc32(found[2].encode()):x}"
        glyphs[name] = f'<g id="{name}">{found[2]}</g>'
        return f'<use href="#{name}"{found[1]}/>'

    svg = _WORD.sub(word, svg)
    svg = re.sub(r"<g></g>|<g/>", "", svg)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    label = html.escape(title, quote=True)
    return f'<svg role="img" aria-label="{label}" {box.group() if box else ""}>{body.strip()}'


def _short(path: str) -> str:
    """A path to a hundredth of a point, without the spaces that nobody reads."""
    path = re.sub(r"(\.\d\d)\d+", r"\1", path)
    return re.sub(r"\s*([MLQCZz])\s*", r"\1", path).strip()


def _together(run: re.Match[str]) -> str:
    """A run of markers with their style said once; many faint dots as one line of points."""
    styles = set(re.findall(r' style="[^"]*"', run[0]))
    if len(styles) > 1:
        return run[0]
    style = styles.pop()
    places = re.findall(r' x="([^"]*)" y="([^"]*)"', run[0])
    faint = re.search(r"fill: ([^;]*); fill-opacity: ([^;\"]*)", style)
    if faint is None or len(places) < _LINE_OF_DOTS:
        return f"<g{style}>{run[0].replace(style, '')}</g>"
    line = "".join(f"M{x} {y}h0" for x, y in places)
    drawn = f"stroke: {faint[1]}; stroke-opacity: {faint[2]}; stroke-width: {_DOT / 2}"
    return f'<path d="{line}" style="{drawn}; stroke-linecap: round"/>'


# --- the drawing itself -------------------------------------------------------------------------


def _draw(panels: Sequence[Panel], width: float) -> Figure:
    count = len(panels)
    names = [name for panel in panels for name in panel.rows]
    margin = max([_LEFT, *(0.12 + _LETTER * len(plain(name)) for name in names)])
    inner = (width - margin - _RIGHT - (count - 1) * _GAP) / count
    tall = max([_HEIGHT, *(_POINT * _points_high(panel) for panel in panels)])
    rows = [_legend_rows(panel, inner) for panel in panels]
    titled = max(rows)
    top = _TOP + _ROW * max(r + bool(p.title) for r, p in zip(rows, panels, strict=True))
    below = _BELOW + 0.1 if any(p.below for p in panels) else 0.0
    height = _BOTTOM + below + tall + top
    figure = Figure(figsize=(width, height), facecolor=_GROUND)
    FigureCanvasAgg(figure)
    for index, panel in enumerate(panels):
        left = (margin + index * (inner + _GAP)) / width
        space = below if panel.below else 0.0
        box = (left, (_BOTTOM + space) / height, inner / width, (tall + below - space) / height)
        axes = figure.add_axes(box, facecolor="none")
        _fill(axes, panel)
        _legend(axes, panel, _legend_columns(panel, inner), titled)
        if panel.below is None:
            axes.set_xlabel(panel.x_label)
            continue
        axes.tick_params(labelbottom=False)
        under = figure.add_axes(
            (left, _BOTTOM / height, inner / width, _BELOW / height), facecolor="none", sharex=axes
        )
        _fill(under, panel.below)
        under.set_xlabel(panel.x_label)
    return figure


def _points_high(panel: Panel) -> int:
    """The height of a panel of rows: each has room for as many points as the fullest, and two."""
    points = [s.y.round() for s in panel.series if s.role in ("interval", "hollow_interval")]
    counts = np.unique(np.concatenate([*points, np.zeros(0)]), return_counts=True)[1]
    return len(panel.rows) * (2 + int(counts.max(initial=0)))


def _legend_columns(panel: Panel, inner: float) -> int:
    entries = [plain(s.label) for s in panel.series if s.label]
    longest = max(map(len, entries), default=1)
    return min(max(1, int(inner / (0.40 + 0.058 * longest))), max(1, len(entries)))


def _legend_rows(panel: Panel, inner: float) -> int:
    return -(-sum(bool(s.label) for s in panel.series) // _legend_columns(panel, inner))


def _legend(axes: Axes, panel: Panel, columns: int, rows: int) -> None:
    """Above the axes, never over the data; the title above `rows` rows of legend."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=columns,
            frameon=False,
            borderpad=0.1,
            borderaxespad=0.15,
            handlelength=1.5,
            handletextpad=0.4,
            columnspacing=0.9,
            labelspacing=0.25,
        )
    if panel.title:
        axes.set_title(panel.title, loc="left", pad=4 + 72 * _ROW * rows, fontweight="bold")


def _fill(axes: Axes, panel: Panel) -> None:
    axes.grid(visible=True, which="major", color="#808080", alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)
    if panel.x_log:
        axes.set_xscale("log")
    if panel.y_log:
        axes.set_yscale("log")
    axes.set_ylabel(panel.y_label)
    base: np.ndarray | None = None
    for series in _in_view(panel):
        if series.role == "area":
            base = _area(axes, series, base)
        else:
            _SERIES[series.role](axes, series)
    axes.margins(x=0.04, y=0.06)
    if panel.rows:
        _name_rows(axes, panel)
        return
    with warnings.catch_warnings():  # of values that are all alike: `_widen` makes room for them
        warnings.filterwarnings("ignore", "Attempting to set identical low and high")
        axes.get_ylim()
    if panel.x_log:
        _log_ticks(axes, "x", panel.ticks)
    elif panel.ticks:
        axes.xaxis.set_major_locator(FixedLocator(list(panel.ticks)))
    _widen(axes, panel.y_log)
    if panel.y_log:
        _log_ticks(axes, "y", ())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5 if axes.get_position().height > 0.3 else 3))
        axes.yaxis.set_major_formatter(FuncFormatter(_decimal))


def _name_rows(axes: Axes, panel: Panel) -> None:
    """Names at the left, and what theory allows tinted from end to end."""
    low, high = axes.get_xlim()
    for s in panel.series:
        if s.role == "target" and s.low is not None and s.high is not None:
            left, right = np.clip(s.low, low, high), np.clip(s.high, low, high)
            axes.barh(s.y, right - left, 0.9, left, color="#808080", alpha=0.13, lw=0, zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(0.5 - len(panel.rows), 0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.yaxis.set_major_locator(FixedLocator([-float(i) for i in range(len(panel.rows))]))
    axes.set_yticklabels(list(panel.rows))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(_decimal))


def _in_view(panel: Panel) -> Iterator[Series]:
    """The panel's series, their bands no further from its values than _FURTHEST times what those
    span, in decades on a logarithmic axis: intervals from two seeds may end where floats do."""
    if panel.rows:
        yield from panel.series
        return
    known = [s.y[np.isfinite(s.y) & ((s.y > 0) | (not panel.y_log))] for s in panel.series]
    values = np.concatenate([*known, np.zeros(0)])
    if not len(values):
        yield from panel.series
        return
    if panel.y_log:
        reach = max(float(values.max() / values.min()), 10.0) ** _FURTHEST
        low, high = values.min() / reach, values.max() * reach
    else:
        reach = _FURTHEST * max(float(np.ptp(values)), float(np.abs(values).max()))
        low, high = values.min() - reach, values.max() + reach
    for s in panel.series:
        if s.low is None or s.high is None:
            yield s
        else:
            yield replace(s, low=np.clip(s.low, low, high), high=np.clip(s.high, low, high))


def _widen(axes: Axes, log: bool) -> None:
    """At least 2 % of y in view: rounding errors are not drawn at full height."""
    low, high = axes.get_ylim()
    if log and high / low < 1.02:
        middle = float(np.sqrt(low * high))
        axes.set_ylim(middle / 1.01, middle * 1.01)
    least = 0.02 * max(abs(low), abs(high))
    if not log and high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def _bars(series: Series, middle: np.ndarray) -> np.ndarray | None:
    """Lengths [2, n] of error bars below and above `middle`; None for a series without."""
    if series.low is None or series.high is None:
        return None
    spans = (middle - series.low, series.high - middle)
    return np.asarray(np.nan_to_num(np.maximum(np.stack(spans), 0.0)))


def _points(axes: Axes, series: Series) -> None:
    error = _bars(series, series.y)
    shade, hollow = colour(series), series.role == "hollow"
    axes.errorbar(
        series.x, series.y, error, fmt=_MARKERS[series.hue % len(_MARKERS)], color=shade,
        ms=5.2 if hollow else 4.2, zorder=3.5 if hollow else 4, mfc=_GROUND if hollow else shade,
        mec=shade if hollow else _GROUND, mew=0.9 if hollow else 0.5, elinewidth=1.0, capsize=1.8,
        label=series.label or None,
    )  # fmt: skip


def _trials(axes: Axes, series: Series) -> None:
    axes.plot(
        series.x, series.y, ".", color=colour(series), ms=_DOT, mew=0, alpha=0.6, zorder=2,
        label=series.label or None, rasterized=len(series.x) > _MARKS,
    )  # fmt: skip


def _left_out(axes: Axes, series: Series) -> None:
    axes.plot(
        series.x, series.y, "x", color=colour(series), ms=3.6, mew=0.9, zorder=2,
        label=series.label or None,
    )  # fmt: skip


def _line(axes: Axes, series: Series) -> None:
    shade = colour(series)
    if series.low is not None and series.high is not None:
        axes.fill_between(series.x, series.low, series.high, color=shade, alpha=0.2, lw=0, zorder=1)
    style = "-" if series.shade is not None or series.hue < len(_HUES) else "-."
    axes.plot(series.x, series.y, style, color=shade, zorder=3, label=series.label or None)


def _theory(axes: Axes, series: Series) -> None:
    axes.plot(
        series.x, series.y, dashes=(4, 2), color=INK, lw=1.0, zorder=3, label=series.label or None
    )


def _mark(axes: Axes, series: Series) -> None:
    axes.plot(
        series.x, series.y, "*", color=colour(series), ms=8, mec=INK, mew=0.5, zorder=5, ls="none",
        label=series.label or None,
    )  # fmt: skip


def _interval(axes: Axes, series: Series) -> None:
    error = _bars(series, series.x)
    shade, hollow = colour(series), series.role == "hollow_interval"
    axes.errorbar(
        series.x, series.y, xerr=error, fmt="o", color=shade, ms=4.0, zorder=4,
        mfc=_GROUND if hollow else shade, mec=shade, mew=0.8, elinewidth=1.4, capsize=0,
        label=series.label or None,
    )  # fmt: skip


def _reach(axes: Axes, series: Series) -> None:
    assert series.low is not None
    assert series.high is not None
    axes.hlines(
        series.y, series.low, series.high, color=colour(series), lw=0.7, zorder=3,
        label=series.label,
    )  # fmt: skip


def _target(axes: Axes, series: Series) -> None:
    axes.vlines(
        series.x, series.y - 0.45, series.y + 0.45, color=INK, lw=1.0, zorder=2,
        label=series.label,
    )  # fmt: skip


def _area(axes: Axes, series: Series, base: np.ndarray | None) -> np.ndarray:
    floor = np.zeros_like(series.y) if base is None else base
    top = floor + series.y
    axes.fill_between(
        series.x, floor, top, color=colour(series), alpha=0.85, lw=0, zorder=2,
        label=series.label or None,
    )  # fmt: skip
    return top


_SERIES = {
    "points": _points,
    "hollow": _points,
    "trials": _trials,
    "left_out": _left_out,
    "line": _line,
    "theory": _theory,
    "mark": _mark,
    "interval": _interval,
    "hollow_interval": _interval,
    "reach": _reach,
    "target": _target,
}


def _log_ticks(axes: Axes, which: Literal["x", "y"], ticks: Sequence[float]) -> None:
    """Labels in plain decimals where they are short; more of them where decades are few."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis.set_minor_locator(NullLocator())  # their ticks would double the time to draw
    if ticks:
        axis.set_major_locator(FixedLocator(_apart(ticks, np.log10(high / low))))
    elif high / low < 2:
        axis.set_major_locator(MaxNLocator(5))
    else:
        decades = np.log10(high / low)
        subs = (1.0,) if decades > 2.2 else (1.0, 3.0) if decades > 1.3 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(_decimal))


def _apart(ticks: Sequence[float], decades: float) -> list[float]:
    """The largest tick, and those below it whose labels (5 digits) do not touch."""
    kept: list[float] = []
    for tick in sorted(ticks, reverse=True):
        if not kept or np.log10(kept[-1] / tick) > 0.11 * decades:
            kept.append(tick)
    return kept


def _decimal(value: float, _: int | None = None) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(abs(value)) + 1e-9))
    factor = value / 10.0**exponent
    if abs(factor - 1) < 1e-6:
        return rf"$10^{{{exponent}}}$"
    return rf"${factor:g}\times10^{{{exponent}}}$"
