"""The numbers of the figures and tables of the error's parts: four terms, bias and variance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import (
    MATH,
    SYMBOLS,
    Setting,
    Sweep,
    at_best,
    has,
    level_means,
    quartiles,
    sweep,
)
from analysis.data.table import Table
from analysis.drawing.plot import Panel, Plot, Series, Topic, positive
from analysis.figures.rates.curves import without_kernel
from analysis.figures.rates.possible import POSSIBLE, of_data_sets

STEPS = r"gradient steps $\tau$"
TERMS = {
    "coupling": "coupling",
    "label_mismatch": "label mismatch",
    "early_stopping": "early stopping",
    "approximation": "approximation",
}


def terms(setting: Setting) -> Iterator[Plot | tuple[str, str]]:
    """Four terms against steps and at the chosen stop; bias and variance."""
    title = "The four terms of the error"
    if has(setting.frame, *TERMS):
        yield terms_against_steps(setting)
        shares = terms_at_stop(setting)
        yield shares or (f"{title} at the best step", "no axis has two values")
    else:
        yield title, without_kernel(setting) or "the study asked for no decomposition: norms"
    if has(setting.frame, "bias", "variance", "kernel_score_error"):
        yield bias_variance(setting)
    else:
        why = without_kernel(setting) or "the kernel's bias and variance were not computed"
        yield "Bias and variance", why


def middle_point(setting: Setting) -> tuple[dict[str, float], Table]:
    """The point where the sweeps cross (most sweeps, then most trials), and its trials."""
    along = [s for axis in SYMBOLS if (s := sweep(setting.frame, axis)) is not None]
    axes = list(SYMBOLS)
    best: tuple[int, int] = (-1, -1)
    chosen: dict[str, float] = {}
    table = setting.frame
    for key, group in setting.frame.trials.groupby(axes):
        point = dict(zip(axes, map(float, np.asarray(key)), strict=True))
        crossed = sum(all(point[k] == v for k, v in s.fixed.items()) for s in along)
        rank = (crossed, len(group))
        if rank > best:
            best, chosen, table = rank, point, setting.frame.take(group.index.to_numpy())
    return chosen, table


def terms_against_steps(setting: Setting) -> Plot:
    """Median over seeds of each term against tau: stacked, and each on a logarithmic scale."""
    point, rows = middle_point(setting)
    layers, lines = [], []
    for hue, (column, label) in enumerate(TERMS.items()):
        x, median, low, high = quartiles(rows, column)
        later = x > 0
        layers.append(Series(label, x[later], median[later], role="area", hue=hue))
        lines.append(Series(label, x, median, low, high, hue=hue))
    x, median, *_ = quartiles(rows, "score_error")
    total = Series("score error", x[x > 0], median[x > 0], role="theory")
    return Plot(
        name=f"{setting.stem}_terms_against_steps",
        title="The four terms of the error against steps",
        caption="Coupling E‖f_W − f^K‖², label mismatch E‖f^K − f̃^K‖², early stopping "
        "E‖f̃^K − f_H‖² and approximation E‖f_H − f*‖², whose vectors add up to the network's "
        "error: it is at most four times their sum.",
        panels=(
            Panel(STEPS, r"stacked terms", (*layers, total), "stacked", y_log=False),
            Panel(STEPS, r"each term", positive(lines), "each"),
        ),
        group=setting.label,
        note=_words(point),
        topic=Topic.TERMS,
        aside=True,
    )


def terms_at_stop(setting: Setting) -> Plot | None:
    """Each term's share of the four's sum at the best recorded step, against N and against m."""
    panels = []
    for axis, label in (("samples", "samples $N$"), ("width", "width $m$")):
        along = sweep(setting.frame, axis)
        if along is None or not has(along.frame, *TERMS):
            continue
        shares = term_shares(along)
        x = shares.index.to_numpy(dtype=float)
        layers = tuple(
            Series(name, x, 100 * shares[column].to_numpy(dtype=float), role="area", hue=hue)
            for hue, (column, name) in enumerate(TERMS.items())
        )
        panels.append(
            Panel(label, "share of the sum (%)", layers, f"against {MATH[axis]}", y_log=False,
                  ticks=along.levels)
        )  # fmt: skip
    if not panels:
        return None
    return Plot(
        name=f"{setting.stem}_terms_at_stop",
        title="The four terms at the best step",
        caption="Each term's share of the four's sum where the network's error is least: the "
        "largest layer is the term to work on.",
        panels=tuple(panels),
        group=setting.label,
        topic=Topic.TERMS,
    )


def term_shares(along: Sweep) -> pd.DataFrame:
    """Index: the axis' levels; columns: the terms' shares of their sum, of means over seeds at
    each trial's best recorded step."""
    stopped = at_best(along.frame, along.axis, *TERMS).dropna(subset=list(TERMS))
    means = stopped.groupby(along.axis)[list(TERMS)].mean()
    return means.div(means.sum(axis=1), axis=0)


def dominance(setting: Setting) -> pd.DataFrame | None:
    """Which term dominates where: one row a point (N, m, eta), with the four shares at the best
    recorded step, the largest one's name, and the number of trials; None where columns are null."""
    if not has(setting.frame, *TERMS):
        return None
    stopped = at_best(setting.frame, *SYMBOLS, *TERMS).dropna(subset=list(TERMS))
    grouped = stopped.groupby(list(SYMBOLS))
    means = grouped[list(TERMS)].mean()
    shares = means.div(means.sum(axis=1), axis=0)
    shares["dominates"] = shares[list(TERMS)].idxmax(axis=1).map(TERMS)
    shares["trials"] = grouped.size()
    return shares.reset_index()


def bias_variance(setting: Setting) -> Plot:
    """Bias and variance of kernel descent against tau, and at the network's best step against N."""
    point, rows = middle_point(setting)
    parts = {
        "bias": "bias",
        "variance": "variance",
        "kernel_score_error": "kernel",
        "score_error": "network",
    }
    lines = []
    for hue, (column, label) in enumerate(parts.items()):
        x, median, low, high = quartiles(rows, column)
        lines.append(Series(label, x, median, low, high, hue=hue))
    panels = [Panel(STEPS, r"error", positive(lines), "against steps")]
    along = sweep(setting.frame, "samples")
    if along is not None:
        stopped = at_best(along.frame, "samples", *parts)
        series = []
        for hue, (column, label) in enumerate(parts.items()):
            known = stopped[stopped[column] > 0]
            if known.empty:
                continue
            x, mean, low, high = level_means(
                known["samples"].to_numpy(float), known[column].to_numpy(float)
            )
            series.append(Series(label, x, mean, low, high, role="points", hue=hue))
            series.append(Series("", x, mean, hue=hue))
        floor = of_data_sets(along.frame.trials, Quantity.EMPIRICAL_BAYES)
        if floor is not None:
            series.append(Series(POSSIBLE, *floor, hue=len(parts)))
        panels.append(
            Panel("samples $N$", r"error", tuple(series), "at the best step",
                  ticks=along.levels)
        )  # fmt: skip
    return Plot(
        name=f"{setting.stem}_bias_variance",
        title="Bias and variance",
        caption="Bias E‖f^K on clean labels − f*‖² and variance, what the labels' noise adds, of "
        "kernel descent: the best step balances the two.",
        panels=tuple(panels),
        group=setting.label,
        note=f"against steps at {_words(point)}",
        topic=Topic.TERMS,
        aside=True,
    )


def _words(point: dict[str, float]) -> str:
    return ", ".join(f"{SYMBOLS[k]} = {v:g}" for k, v in point.items())
