"""What stands for a series on axes, by its role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.drawing.plot import Series
from analysis.drawing.style import DOT, GROUND, HUES, INK, MARKERS, colour
from analysis.levels.intervals import Array

_MARKS = 2000  # of a cloud: more are drawn as one image, which a page can hold


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
        series.x, series.y, error, fmt=MARKERS[series.hue % len(MARKERS)], color=shade,
        ms=5.2 if hollow else 4.2, zorder=3.5 if hollow else 4, mfc=GROUND if hollow else shade,
        mec=shade if hollow else GROUND, mew=0.9 if hollow else 0.5, elinewidth=1.0, capsize=1.8,
        label=series.label or None,
    )  # fmt: skip


def _trials(axes: Axes, series: Series) -> None:
    axes.plot(
        series.x, series.y, ".", color=colour(series), ms=DOT, mew=0, alpha=0.6, zorder=2,
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
    style = "-" if series.shade is not None or series.hue < len(HUES) else "-."
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
        mfc=GROUND if hollow else shade, mec=shade, mew=0.8, elinewidth=1.4, capsize=0,
        label=series.label or None,
    )  # fmt: skip


def _reach(axes: Axes, series: Series) -> None:
    _thin(axes.hlines, series.y, series, zorder=3)


def _far(axes: Axes, series: Series) -> None:
    _thin(axes.vlines, series.x, series, zorder=2)


def _thin(draw: Callable[..., Any], at: Array, series: Series, zorder: float) -> None:
    """Bars alone, without a marker."""
    assert series.low is not None
    assert series.high is not None
    draw(
        at, series.low, series.high, color=colour(series), lw=0.7, zorder=zorder,
        label=series.label,
    )  # fmt: skip


def _target(axes: Axes, series: Series) -> None:
    axes.vlines(
        series.x, series.y - 0.45, series.y + 0.45, color=INK, lw=1.0, zorder=2,
        label=series.label,
    )  # fmt: skip


def area(axes: Axes, series: Series, base: np.ndarray | None) -> np.ndarray:
    floor = np.zeros_like(series.y) if base is None else base
    top = floor + series.y
    axes.fill_between(
        series.x, floor, top, color=colour(series), alpha=0.85, lw=0, zorder=2,
        label=series.label or None,
    )  # fmt: skip
    return top


DRAWERS = {
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
    "far": _far,
    "target": _target,
}
"""For each role but `area` what draws a series of it."""
