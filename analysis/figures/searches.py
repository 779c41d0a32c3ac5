"""Figures of what searches did: how the best loss fell, which hyperparameters decided, and where
the best evaluations lie. The numbers are those of `analysis.searches.best`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.data.table import Table
from analysis.drawing.plot import Panel, Plot, Series, Topic
from analysis.levels.intervals import Array
from analysis.searches.best import HYPERPARAMETERS, with_hyperparameters
from analysis.searches.tuning import NOT_SEARCHED, Comparison, budgets

BEST_SHARE = 0.1
"""Evaluations that are drawn as lines, of each search."""

_WORDS = {
    "width": "width $m$", "step_size": r"step size $\eta$", "initialisation": "initialisation",
    "bias": "bias", "trainer": "trainer",
}  # fmt: skip
_SPREAD = 0.25  # of choices and widths within their row, so that equal ones are seen


def search_plots(
    one: Comparison,
    evaluations: pd.DataFrame,
    frame: pd.DataFrame | Table,
    importance: pd.DataFrame,
) -> Iterator[Plot]:
    """The three figures of a point. importance: as of `load_importance`."""
    searched = one.own(evaluations[~evaluations["method"].isin(NOT_SEARCHED)])
    if one.found["value"].notna().any():
        yield _so_far(one)
    shares = one.own(importance)
    if len(shares):
        yield _importance(one, shares)
    asked = with_hyperparameters(searched[searched["value"].notna()], frame)
    names = [n for n in HYPERPARAMETERS.values() if asked[n].nunique() > 1]
    if names:
        yield _coordinates(one, asked, names)


def _so_far(one: Comparison) -> Plot:
    series = []
    for hue, (method, own) in enumerate(one.found.groupby("method", sort=True)):
        label = f"search: {method}"
        for _, run in own.groupby("repetition"):
            n, loss = (run[c].to_numpy(dtype=float) for c in ("evaluations", "value"))
            # As steps: the loss stays until a better evaluation.
            series.append(Series(label, np.repeat(n, 2)[1:], np.repeat(loss, 2)[:-1], hue=hue))
            label = ""
    most = int(one.found["evaluations"].max())
    panel = Panel(
        "evaluations $n$", "least held-out loss so far", tuple(series), y_log=False,
        ticks=tuple(map(float, budgets(most))),
    )  # fmt: skip
    return Plot(
        name=f"{one.stem}_so_far",
        title="How each search went",
        caption="Least held-out denoising loss of the first n evaluations, a line for each search; "
        "repetitions differ in their data, and so in the loss that no choice can go below.",
        panels=(panel,),
        note=one.label,
        topic=Topic.TUNING,
    )


def _importance(one: Comparison, shares: pd.DataFrame) -> Plot:
    own = shares.sort_values("importance", ascending=False)
    found = own["importance"].to_numpy(dtype=float)
    rows = tuple(_WORDS.get(name, name) for name in own["hyperparameter"])
    none = np.full(len(own), np.nan)
    series = Series("", found, -np.arange(len(own), dtype=float), none, none, "interval")
    return Plot(
        name=f"{one.stem}_importance",
        title="Which hyperparameters decided",
        caption="Share of each hyperparameter alone in how the evaluations rank by held-out loss, "
        "whatever the others are (functional ANOVA over a forest); what is left of 1 is of several "
        "together, or chance.",
        panels=(Panel("importance", "", (series,), x_log=False, y_log=False, rows=rows),),
        note=f"{one.label}; {own['evaluations'].iloc[0]} evaluations of {own['samplers'].iloc[0]}, "
        "all repetitions",
        topic=Topic.TUNING,
    )


def _coordinates(one: Comparison, asked: pd.DataFrame, names: list[str]) -> Plot:
    groups = asked.groupby(["method", "repetition"])["value"]
    rank = groups.rank(method="first")
    best = (rank <= np.maximum(1, np.ceil(BEST_SHARE * groups.transform("size")))).to_numpy()
    places, rows = [], []
    for name in names:
        at, span = _places(asked[name])
        places.append(at)
        rows.append(f"{_WORDS[name]}: {span}")
    x = np.stack(places, axis=1)  # [evaluations, names]
    y = np.broadcast_to(-np.arange(len(names), dtype=float), x.shape)
    series = [Series("all others", x[~best].ravel(), y[~best].ravel(), role="trials", hue=5)]
    for hue, (method, own) in enumerate(asked[best].groupby("method", sort=True)):
        label = f"best tenth: {method}"
        for place in asked.index.get_indexer(own.index):
            series.append(Series(label, x[place], y[place], hue=hue))
            label = ""
    return Plot(
        name=f"{one.stem}_coordinates",
        title="Where the best evaluations lie",
        caption="A line through the hyperparameters of each of the best tenth of evaluations of a "
        "search, by held-out loss; dots, all others; from the least value asked for, left, to "
        "the largest.",
        panels=(
            Panel(
                "place between the ends of its row", "", tuple(s for s in series if len(s.x)),
                x_log=False, y_log=False, rows=tuple(rows),
            ),
        ),
        note=f"{one.label}; equal values of choices and widths are spread a little",
        topic=Topic.TUNING,
    )  # fmt: skip


def _places(values: pd.Series) -> tuple[Array, str]:
    """Where values stand on their row, 0 to 1, and what its ends are: numbers by their logarithm,
    choices evenly, in order."""
    if values.name in ("width", "step_size"):
        log = np.log(values.to_numpy(dtype=float))
        low, high = float(values.min()), float(values.max())
        at = (log - math.log(low)) / (math.log(high) - math.log(low))
        ends = f"{low:.3g} to {high:.3g}" if values.name == "step_size" else f"{low:g} to {high:g}"
        if values.name == "step_size":
            return at, ends
        gap = 1 / max(1.0, round(math.log2(high / low)))
    else:
        words = values.map({True: "with", False: "without"}).fillna(values.astype(str))
        known = sorted(words.unique())
        at = words.map({word: i / (len(known) - 1) for i, word in enumerate(known)}).to_numpy(float)
        ends, gap = ", ".join(known), 1 / (len(known) - 1)
    # The same spread whoever draws it: even steps of an irrational number.
    shift = np.modf(0.618034 * np.arange(len(at)))[0] - 0.5
    return np.clip(at + _SPREAD * gap * shift, -_SPREAD * gap, 1 + _SPREAD * gap), ends
