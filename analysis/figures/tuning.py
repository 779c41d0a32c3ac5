"""Figures and table of tuned against theory-guided; the numbers are those of
`analysis.searches.tuning`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.table import Table
from analysis.drawing.plot import Panel, Plot, Series, Topic, positive
from analysis.figures.searches import search_plots
from analysis.searches.answers import choice_word
from analysis.searches.best import HYPERPARAMETERS, no_importance
from analysis.searches.tuning import (
    GUIDED_RULES,
    Comparison,
    budgets,
    comparisons,
    median_interval,
    summary,
)
from analysis.text import counted, minus


def tuning_plots(
    evaluations: pd.DataFrame,
    frame: pd.DataFrame | Table,
    importance: pd.DataFrame | None = None,
) -> list[Plot]:
    """For every point: the error against evaluations and operations, then what its searches did.
    importance: as of `load_importance`."""
    table = Table.of(frame)
    shares = no_importance() if importance is None else importance
    plots = []
    for one in comparisons(evaluations, table):
        if len(one.found):
            plots.append(_plot(one))
            plots += search_plots(one, evaluations, table, shares)
    return plots


def _plot(one: Comparison) -> Plot:
    most = int(one.found["evaluations"].max())
    panels = []
    for column, label, title in (
        ("evaluations", "evaluations $n$", "against evaluations"),
        ("operations", "operations (flop)", "against operations"),
    ):
        series = [*_searches(one, column), *_rules(one, column, most)]
        ticks = tuple(float(n) for n in budgets(most)) if column == "evaluations" else ()
        panels.append(Panel(label, one.measure, positive(series), title, ticks=ticks))
    level = summary(one)["level"].dropna()
    count = one.found["repetition"].nunique()
    spread = (
        f"medians over {count} repetitions on data of their own, with {100 * level.min():.3g} % "
        "intervals"
        if len(level)
        else "a single repetition: without intervals"
    )
    rivals = "; horizontal, theory's choice of width, step size and stop, by its rules"
    rivals += ", of which the oracle alone knows the score error" if one.known else ""
    what = "Score error E‖f − f*‖²" if one.known else "Held-out denoising loss"
    by = ", the best by held-out denoising loss" if one.known else ""
    return Plot(
        name=one.stem,
        title=f"Tuned against theory-guided, N = {one.samples}",
        caption=f"{what} of the best of n evaluations{by}{rivals if len(one.stopped) else ''}.",
        panels=tuple(panels),
        note=f"{one.label}; {spread}",
        topic=Topic.TUNING,
    )


def _searches(one: Comparison, column: str) -> Iterator[Series]:
    for hue, (method, own) in enumerate(one.found.groupby("method", sort=True)):
        x, rows = [], []
        for n in budgets(int(own["evaluations"].max())):
            at = own[own["evaluations"] == n]
            x.append(float(at[column].median()))
            rows.append(median_interval(at["error"].to_numpy(dtype=float)))
        yield Series(
            f"search: {method}",
            np.array(x),
            np.array([r.value for r in rows]),
            np.array([r.low for r in rows]),
            np.array([r.high for r in rows]),
            hue=hue,
        )


def _rules(one: Comparison, column: str, most: int) -> Iterator[Series]:
    if one.stopped.empty:
        return
    hues = one.found["method"].nunique()
    for place, rule in enumerate(GUIDED_RULES):
        at = one.stopped[one.stopped["rule"] == rule]
        error = median_interval(at["error"].to_numpy(dtype=float))
        if not np.isfinite(error.value):
            continue
        label = f"theory: {rule.replace('_', ' ')}"
        if column == "evaluations":
            ends = np.array([1.0, float(most)])
            yield Series(label, ends, np.full(2, error.value), hue=hues + place)
        else:
            x = np.array([float(at["operations"].median())])
            y, low, high = (np.array([v]) for v in (error.value, error.low, error.high))
            yield Series(label, x, y, low, high, role="points", hue=hues + place)


def tuning_rows(one: Comparison) -> dict[str, Any]:
    """The table of a point as cells: who, error, interval, operations, worth. Rules that need what
    is not known are left out."""
    table = summary(one)
    rows = []
    for _, row in table.iterrows():
        n = row["evaluations"]
        searched = pd.notna(n)
        if not searched and not row["count"] and not one.known:
            continue
        who = f"{row['method']}, n = {n:g}" if searched else f"theory, {row['method']}"
        cost = f"{row['operations']:.2g}" if pd.notna(row["operations"]) else "–"
        if not searched and row["pilot_operations"] > 0:
            cost += f" + {row['pilot_operations']:.2g} for the pilots"
        rows.append(
            (
                who.replace("_", " "),
                _number(row["error"]),
                _between(row["error_low"], row["error_high"], _number),
                minus(cost),
                "" if searched else _worth_words(row),
            )
        )
    over = f"Over {counted(one.found['repetition'].nunique(), 'repetition')}"
    if one.left_out:
        over += f" (in {one.left_out} more theory made no choice: left out here)"
    told = {"label": one.label, "stem": one.stem, "measure": one.measure, "known": one.known}
    told["over"] = over
    return {**told, "rows": rows, "numbers": table}


def choice_rows(choices: pd.DataFrame) -> list[tuple[str, tuple[str, ...], str, str, str]]:
    """Rows of `analysis.searches.best.chosen` as cells: who chose, the hyperparameters in the order
    of HYPERPARAMETERS, where to stop, the held-out loss, the score error."""
    return [
        (
            f"{row['method']}, repetition {row['repetition']}",
            tuple(choice_word(row[name]) for name in HYPERPARAMETERS.values()),
            f"{row['step']:,}",
            f"{row['loss']:.5g}",
            _number(row["score_error"]),
        )
        for _, row in choices.iterrows()
    ]


def final_rows(finals: pd.DataFrame) -> list[tuple[str, tuple[str, ...], str, str, str, str]]:
    """Rows of `analysis.searches.finals.finals` as cells: who chose, in which repetition, the
    hyperparameters in the order of HYPERPARAMETERS, the steps of the least held-out loss, that
    loss, how far it is above the winner's, the score error."""
    rows = []
    for _, row in finals.iterrows():
        half = (row["above_high"] - row["above_low"]) / 2
        above = "" if row["place"] == 1 else minus(f"{row['above']:.2g}")
        above += minus(f" ± {half:.2g}") if above and np.isfinite(half) else ""
        stops = _between(row["step_low"], row["step_high"], lambda step: f"{step:,.0f}")
        rows.append(
            (
                row["chosen_by"].replace(", repetition", ""),
                tuple(choice_word(row[name]) for name in HYPERPARAMETERS.values()),
                stops,
                f"{row['loss']:.5g}" if np.isfinite(row["loss"]) else "failed",
                above,
                _number(row["score_error"]),
            )
        )
    return rows


def _worth_words(row: pd.Series[Any]) -> str:
    if pd.isna(row["worth"]):
        return "–"

    def count(value: float) -> str:
        return f"more than {row['most']:g}" if np.isinf(value) else f"{value:g}"

    ends = _between(row["worth_low"], row["worth_high"], count)
    return f"{count(row['worth'])} of {row['against']}" + (f" ({ends})" if ends else "")


def _number(value: float) -> str:
    return minus(f"{value:.3g}") if np.isfinite(value) else "–"


def _between(low: float, high: float, text: Any) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f"{text(low)} to {text(high)}"
