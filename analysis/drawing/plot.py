"""What a figure shows, as numbers: series on panels, in a plot. Nothing here draws.

A **plot** is one figure of a paper. Its **panels** stand side by side in print and below each
other on a phone; a panel may have a second one **below** it on the same x axis (residuals).
Labels are matplotlib mathtext; captions and alternative texts are plain text. `Plot.table` holds
exactly what is drawn, so a file of it is enough to draw the figure again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np
import pandas as pd

from analysis.levels.intervals import Array

_FURTHEST = 3  # of a band from the values that it belongs to

Role = Literal[
    "points", "hollow", "trials", "left_out", "line", "theory", "mark", "area",
    "interval", "hollow_interval", "reach", "far", "target",
]  # fmt: skip


class Topic(StrEnum):
    """The questions that figures answer, in the order of the page."""

    ANSWER = "The answer"
    NOISE = "Copies, times and weights"
    TUNING = "Tuned against theory-guided"
    SAMPLES = "How the error falls with samples"
    STOPPING = "When to stop"
    GENERATED = "Samples"
    WIDTH = "What width changes"
    STEP = "What the step size changes"
    TERMS = "What the error is made of"
    POSSIBLE = "What is possible without training"
    ASSUMPTIONS = "Assumptions, as measured"


@dataclass(frozen=True, eq=False)
class Series:
    """One line, band or cloud of points.

    Attributes:
        label: Name in the legend; empty: drawn without an entry.
        x, y: [n]. For `area`, y is the layer's own thickness; layers are stacked in order.
        low, high: [n], ends of the band or of the error bars, or None; along x on a panel of rows.
        role: `points`: markers with error bars; `hollow`: the same, not filled. `trials`: small
            faint markers, one a trial. `left_out`: crosses, values that a fit does not use. `line`:
            with its band. `far`: thin upright bars alone. `theory`: a dashed line. `mark`: stars.
            `area`: a layer. On a panel of rows, y being the row: `interval`, `hollow_interval`:
            markers with bars along x; `reach`: thin bars alone; `target`: a stroke at x across the
            row, and a tint from low to high, as far as the axis goes where these are infinite.
        hue: Place in the categorical palette.
        shade: Place on the ordered palette, 0 to 1; None: categorical.
    """

    label: str
    x: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    role: Role = "line"
    hue: int = 0
    shade: float | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes. `ticks`: positions on x that get a label; empty: chosen by the axis.
    `rows`: names of y = 0, -1, -2, ..., top down, in place of numbers. `y_span`: values of y that
    it has room for beside its own, None for none."""

    x_label: str
    y_label: str
    series: tuple[Series, ...]
    title: str = ""
    x_log: bool = True
    y_log: bool = True
    ticks: tuple[float, ...] = ()
    rows: tuple[str, ...] = ()
    below: Panel | None = None
    y_span: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Plot:
    """One figure.

    name: its file name without suffix. caption: a sentence on what it shows, the same for every
    law. group: the setting it is of, empty for one of the whole study. note: what holds for this
    one alone: what is fixed, and the numbers of its fit. topic: the question that it helps to
    answer. aside: it supports another figure, and the page folds it away.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    group: str = ""
    note: str = ""
    topic: Topic = Topic.SAMPLES
    aside: bool = False

    @property
    def alt(self) -> str:
        """Alternative text: what is plotted against what, and the caption."""
        axes = "; ".join(f"{plain(p.y_label)} against {plain(p.x_label)}" for p in self.panels)
        return f"{self.title}. Plotted: {axes}. {self.caption}"

    @property
    def table(self) -> pd.DataFrame:
        """The numbers drawn, one row a point: panel, series, role, x_label, y_label, x, y, low,
        high. A panel below another is named after it, with ` (below)`."""
        rows = []
        for index, panel in enumerate(self.panels, 1):
            name = panel.title or f"panel {index}"
            rows.extend(_rows(panel, plain(name)))
            if panel.below is not None:
                rows.extend(_rows(panel.below, f"{plain(name)} (below)"))
        return pd.concat(rows, ignore_index=True)


def _rows(panel: Panel, name: str) -> list[pd.DataFrame]:
    frames = []
    for series in panel.series:
        missing = np.full(series.x.shape, np.nan)
        frames.append(
            pd.DataFrame(
                {
                    "panel": name,
                    "series": plain(series.label),
                    "role": series.role,
                    "x_label": plain(panel.x_label),
                    "y_label": plain(panel.y_label),
                    "x": series.x,
                    "y": series.y,
                    "low": missing if series.low is None else series.low,
                    "high": missing if series.high is None else series.high,
                }
            )
        )
    return frames


_GREEK = {r"\eta": "η", r"\tau": "τ", r"\lambda": "λ", r"\|": "‖", r"\,": " ", r"\ast": "*"}


def plain(label: str) -> str:
    """A mathtext label as plain text: `$\\eta\\tau$` becomes `ητ`."""
    for command, letter in _GREEK.items():
        label = label.replace(command, letter)
    return re.sub(r"[${}^\\]", lambda m: "^" if m.group() == "^" else "", label).strip()


def in_view(panel: Panel) -> Iterator[Series]:
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


def on_one_scale(plots: Sequence[Plot]) -> list[Plot]:
    """The plots, each with room for the values of all, panel by panel: they are to be compared.
    As they are where they have not the same logarithmic axes."""
    labels = {tuple(p.y_label for p in plot.panels) for plot in plots}
    if len(labels) > 1 or not all(p.y_log for plot in plots for p in plot.panels):
        return list(plots)
    spans = [_span(panels) for panels in zip(*(plot.panels for plot in plots), strict=True)]
    return [
        replace(
            plot,
            panels=tuple(replace(p, y_span=s) for p, s in zip(plot.panels, spans, strict=True)),
        )
        for plot in plots
    ]


def _span(panels: Sequence[Panel]) -> tuple[float, float] | None:
    """The least and the largest value in view on any of them; None where there is none."""
    drawn = [
        values
        for panel in panels
        for s in in_view(panel)
        for values in (s.y, s.low, s.high)
        if values is not None
    ]
    values = np.concatenate([*drawn, np.zeros(0)])
    values = values[np.isfinite(values) & (values > 0)]
    return (float(values.min()), float(values.max())) if len(values) else None


def positive(series: Sequence[Series]) -> tuple[Series, ...]:
    """`series` without the points that a logarithmic axis cannot hold (x or y null, 0 or below);
    series left empty are dropped, and a band's lower end at or below 0 becomes null."""
    kept = []
    for one in series:
        with np.errstate(invalid="ignore"):
            keep = (one.x > 0) & (one.y > 0) & np.isfinite(one.x) & np.isfinite(one.y)
        if not keep.any():
            continue
        low = None if one.low is None else np.where(one.low[keep] > 0, one.low[keep], np.nan)
        high = None if one.high is None else one.high[keep]
        kept.append(
            Series(one.label, one.x[keep], one.y[keep], low, high, one.role, one.hue, one.shade)
        )
    return tuple(kept)
