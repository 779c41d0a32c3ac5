"""What is possible without training, beside what was measured: the line in figures of an error
against N, and the table of how far training is from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from analysis.data.curves.data_sets import beside
from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import level_means
from analysis.drawing.plot import Series
from analysis.levels.intervals import Array, student
from analysis.verdicts.judging import usable

LEVEL = 0.95
POSSIBLE = "without training"
HUE = 3
_FLOOR = {
    Quantity.BEST_ERROR: Quantity.EMPIRICAL_BAYES,
    Quantity.BEST_ERROR_ASSESSED: Quantity.EMPIRICAL_BAYES,
    Quantity.BEST_ERROR_UNWEIGHTED: Quantity.EMPIRICAL_BAYES_UNWEIGHTED,
    Quantity.FINAL_ERROR: Quantity.EMPIRICAL_BAYES,
    Quantity.INTERPOLATION_ERROR: Quantity.EMPIRICAL_BAYES,
    Quantity.ERROR_AT_TIME: Quantity.EMPIRICAL_BAYES,
    Quantity.KERNEL_BEST_ERROR: Quantity.EMPIRICAL_BAYES,
}
"""What an error against N is compared with."""


def possible(curve: Curve, others: Sequence[Curve]) -> list[Series]:
    """The line for a figure of an error against N, where the table has it."""
    if curve.axis != "samples" or curve.quantity not in _FLOOR:
        return []
    floor = beside(curve, others, _FLOOR[Quantity(curve.quantity)])
    if floor is None:
        return []
    at = np.isin(floor.x, curve.x)
    return [Series(POSSIBLE, *level_means(floor.x[at], floor.y[at]), hue=HUE)] if at.any() else []


def estimates(curve: Curve, others: Sequence[Curve]) -> list[Series]:
    """Beside empirical Bayes: the memorizer, and the best cut-off."""
    named = (
        (Quantity.MEMORIZER, "memorizer, mean"),
        (Quantity.EMPIRICAL_BAYES_BEST, "best cut-off, mean"),
    )
    series = []
    for hue, (quantity, label) in enumerate(named, 2):
        other = beside(curve, others, quantity)
        if other is not None:
            means = level_means(other.x, other.y)
            series.append(Series(label, *means, role="hollow", hue=hue))
    return series


def of_data_sets(trials: pd.DataFrame, column: str) -> tuple[Array, Array, Array, Array] | None:
    """N, and the mean of a column over the data sets of these trials with its 95 % interval; None
    where the table has no values."""
    if column not in trials:
        return None
    known = trials.drop_duplicates("data_id").dropna(subset=[column])
    known = known[known[column] > 0]
    if known.empty:
        return None
    return level_means(known["samples"].to_numpy(float), known[column].to_numpy(float))


def distances(mine: Sequence[Curve]) -> Iterator[tuple[str, pd.DataFrame]]:
    """For each curve of the best-stopped error over N: what it holds fixed in words, and at each N
    how many times the error of empirical Bayes it is. Columns: samples, error, possible (means over
    the shared data sets), ratio (geometric mean of the data sets' own ratios), low, high (its 95 %
    interval, from the paired differences of logarithms; NaN for one data set), data_sets."""
    for curve in mine:
        if (curve.quantity, curve.axis) != (Quantity.BEST_ERROR, "samples"):
            continue
        floor = beside(curve, mine, Quantity.EMPIRICAL_BAYES)
        if floor is None:
            continue
        kept = usable(curve)[0]
        both = pd.merge(
            pd.DataFrame({"samples": kept.x, "seed": kept.seed, "error": kept.y}),
            pd.DataFrame({"samples": floor.x, "seed": floor.seed, "possible": floor.y}),
            on=["samples", "seed"],
        )
        both = both[(both["error"] > 0) & (both["possible"] > 0)]
        rows = [_distance(own) for _, own in both.groupby("samples")]
        if rows:
            yield curve.held, pd.DataFrame(rows)


def _distance(own: pd.DataFrame) -> dict[str, float]:
    logs = np.log(own["error"] / own["possible"])
    half = float("nan")
    if len(own) > 1:
        half = student(LEVEL, len(own) - 1) * float(logs.std(ddof=1)) / len(own) ** 0.5
    middle = float(logs.mean())
    return {
        "samples": float(own["samples"].iloc[0]),
        "error": float(own["error"].mean()),
        "possible": float(own["possible"].mean()),
        "ratio": float(np.exp(middle)),
        "low": float(np.exp(middle - half)),
        "high": float(np.exp(middle + half)),
        "data_sets": len(own),
    }
