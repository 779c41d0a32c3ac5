"""Curves of what belongs to a data set and not to a network: the errors of estimates from its clean
points, without training. Trials on one data set share them, whatever their width, step size or
trainer, so each data set counts once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.data.curves.quantities import (
    INVERSE_T_MIN,
    LINKED_AXES,
    Curve,
    along,
    axis_values,
    column_of,
)
from analysis.data.curves.quantity import UNTRAINED, Quantity
from analysis.data.curves.trajectories import numbers
from analysis.data.sweeps import DIFFUSION
from analysis.data.table import Table
from analysis.levels.intervals import Array
from trainers.columns import TEST_GROUPS

AXES = ("samples", INVERSE_T_MIN)
"""Axes along which curves are looked for."""

_SETTING = ("law_id", "dimension", "samples", *DIFFUSION)
"""What tells the laws of data sets apart, N among it."""

EQUAL = 1e-6
"""Relative: values on the same points differ by less, by their device's rounding."""


def data_curves(frame: pd.DataFrame | Table) -> list[Curve]:
    """A curve for each quantity of a data set, axis and group of data sets that agree in all but
    the axis and the seed, with at least MINIMUM_VALUES values of the axis. A data set without a
    value (its trials failed, or were trained before it was measured) is counted as missing."""
    rows = Table.of(frame).trials
    if "data_id" not in rows or not np.isfinite(numbers(rows, Quantity.EMPIRICAL_BAYES)).any():
        return []
    first = _clean_points(rows)
    return [
        curve
        for axis in AXES
        for own in along(first, axis, _SETTING)
        for quantity in UNTRAINED
        if (curve := _curve(own, axis, quantity)) is not None
    ]


def _clean_points(rows: pd.DataFrame) -> pd.DataFrame:
    """A trial for each set of clean points, one with a value where there is one. Data sets that
    differ in their noise alone share those; what is measured on them is then equal, but for
    rounding, which differs between devices."""
    known = np.isfinite(numbers(rows, Quantity.EMPIRICAL_BAYES))
    points = [*_SETTING, "seed"]
    measured = _unlike(rows[known], points, str(Quantity.EMPIRICAL_BAYES))
    others = rows[~known].drop_duplicates("data_id")
    lost = others.merge(measured[points].drop_duplicates(), how="left", indicator=True)
    return pd.concat([measured, others[(lost["_merge"] == "left_only").to_numpy()]])


def _unlike(rows: pd.DataFrame, points: list[str], value: str) -> pd.DataFrame:
    """The rows that differ in `points`, or in the value by more than EQUAL; the first of each."""
    ordered = rows.sort_values([*points, value])
    before = ordered.groupby(points, dropna=False)[value].shift()
    alike = ordered[value] - before <= EQUAL * ordered[value].abs()
    number = (~alike).cumsum()
    return rows[~number.reindex(rows.index).duplicated()]


def _curve(rows: pd.DataFrame, axis: str, quantity: Quantity) -> Curve | None:
    y, x = numbers(rows, quantity), axis_values(rows, axis)
    keep = np.isfinite(y)
    if not keep.any():
        return None
    own = rows[keep]
    held = (name for name in _SETTING if name not in (column_of(axis), "law_id", "dimension"))
    return Curve(
        quantity=quantity,
        axis=axis,
        law=str(own["law_label"].iloc[0]),
        law_id=str(own["law_id"].iloc[0]),
        dimension=int(own["dimension"].iloc[0]),
        fixed={n: None if pd.isna(v := own[n].to_list()[0]) else v for n in held},
        x=x[keep],
        y=y[keep],
        seed=own["seed"].to_numpy(dtype=np.int64),
        censored=np.zeros(len(own), dtype=bool),
        linked=axis in LINKED_AXES,
        without=_without_groups(own, quantity),
        effective_points=_effective_points(own, quantity),
        missing=tuple(x[~keep].tolist()),
    )


def _without_groups(rows: pd.DataFrame, quantity: Quantity) -> Array | None:
    """The error without each group of test points [n, K]; None where the table does not tell."""
    groups = [numbers(rows, f"{quantity}_group{i}") for i in range(1, TEST_GROUPS + 1)]
    whole = numbers(rows, quantity)[:, None]
    left = (TEST_GROUPS * whole - np.stack(groups, axis=1)) / (TEST_GROUPS - 1)
    return left if np.isfinite(left).all() else None


def _effective_points(rows: pd.DataFrame, quantity: Quantity) -> float:
    unweighted = quantity == Quantity.EMPIRICAL_BAYES_UNWEIGHTED
    sizes = numbers(rows, f"effective_points{'_unweighted' if unweighted else ''}")
    return float(np.nanmin(sizes)) if np.isfinite(sizes).any() else float("nan")


def beside(curve: Curve, every: Sequence[Curve], quantity: Quantity) -> Curve | None:
    """The curve of a quantity of data sets, of the law and diffusion that `curve` has; None where
    there is none."""
    for other in every:
        same = (other.quantity, other.axis) == (quantity, curve.axis)
        same = same and (other.law_id, other.dimension) == (curve.law_id, curve.dimension)
        if same and all(curve.fixed.get(name) == held for name, held in other.fixed.items()):
            return other
    return None
