"""Panels on a figure: their places, axes, ticks, legends and names.

Sizes are those of a two-column paper: a panel is 3.4 in wide, a plot of several panels 7 in.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from analysis.drawing.marks import DRAWERS, area
from analysis.drawing.plot import Panel, in_view, plain
from analysis.drawing.style import GROUND
from analysis.text import minus

SINGLE, DOUBLE = 3.4, 7.0
"""Widths of a column and of a page, inches."""
ROWS = 5.2
"""Width of a panel of rows, which have names at their left."""

# Margins in inches: fixed, so that the axes of two figures line up in a paper.
_LEFT, _RIGHT, _BOTTOM, _TOP, _GAP, _ROW = 0.66, 0.12, 0.42, 0.08, 0.76, 0.16
_HEIGHT, _BELOW = 1.85, 0.75
_POINT, _LETTER = 0.058, 0.057  # of a panel of rows: height of a point, width of a letter


def natural_width(panels: Sequence[Panel]) -> float:
    """Inches: a column for one panel, a page for more."""
    if len(panels) > 1:
        return DOUBLE
    return ROWS if panels[0].rows else SINGLE


def drawn_panels(panels: Sequence[Panel], width: float) -> Figure:
    """A figure `width` inches wide, panels side by side."""
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
    figure = Figure(figsize=(width, height), facecolor=GROUND)
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
    for series in in_view(panel):
        if series.role == "area":
            base = area(axes, series, base)
        else:
            DRAWERS[series.role](axes, series)
    if panel.y_span is not None:
        axes.update_datalim([(1.0, end) for end in panel.y_span], updatex=False)
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


def _widen(axes: Axes, log: bool) -> None:
    """At least 2 % of y in view: rounding errors are not drawn at full height."""
    low, high = axes.get_ylim()
    if log and high / low < 1.02:
        middle = float(np.sqrt(low * high))
        axes.set_ylim(middle / 1.01, middle * 1.01)
    least = 0.02 * max(abs(low), abs(high))
    if not log and high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)


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
        return minus(f"{value:g}")
    exponent = int(np.floor(np.log10(abs(value)) + 1e-9))
    factor = value / 10.0**exponent
    if abs(factor - 1) < 1e-6:
        return rf"$10^{{{exponent}}}$"
    return rf"${factor:g}\times10^{{{exponent}}}$"
