"""From the results table to curves: for each quantity and axis, one value per trial.

A minimum over recorded steps is biased: it is taken at a recorded step, and chosen by the same
numbers that are then reported. So the best step is interpolated (a parabola through three
neighbours in log error against log effective time), and `BEST_ERROR_ASSESSED` chooses the time on
one half of the test set and reads the error on the other.

A best step that is the last recorded one was not reached; one that is the first came too early to
be seen. Such values are **censored**: kept in the curve, marked, and left out of fits by level.

Arrays here: B trials, T recorded steps, padded with NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.limit_beside import Group, control_of, limit_beside
from analysis.data.quantity import Quantity
from analysis.data.table import Table
from analysis.fits.intervals import Array
from analysis.fits.two_levels import Control
from trainers.columns import IDENTITY_COLUMNS, TEST_GROUPS
from trainers.trial import TrialStatus

AXES = ("samples", "width", "step_size", "t_min")
"""Axes along which curves are looked for."""

LINKED_AXES = ("width", "step_size", "t_min")
"""Axes along which trials of one seed share their data. Data at different N are independent."""

MINIMUM_VALUES = 3
"""Distinct values of an axis that make a curve."""

INTERPOLATED = 0.05
"""A final error counts as unstopped where the training loss is below this share of the noise level
E||X_0 - f*||^2 / 2: the network then fits the noise in its labels. Short of that, descent is still
regularised by its time, however many best times it ran."""

_NOT_CONFIGURATION = {"trial_id", "point_id", "data_id", "study", "law", "law_label", "seed"}

CONFIGURATION = tuple(
    column.name for column in IDENTITY_COLUMNS if column.name not in _NOT_CONFIGURATION
)


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity along an axis, all else fixed: x, y, seed, censored [n], one entry per trial.
    Curves are told apart by identity, so that what is made of one can be kept by it.

    fixed: the configuration held fixed. effective_time: the common eta tau of the quantities read
    at a fixed time, else None. linked: the trials of one seed share their data along the axis.
    A final error is marked censored where the network does not fit its noise: see INTERPOLATED.
    without: y without each group of test points [n, K], None where the table does not tell.
    control: the kernel limit's values on the same data and more, None where there are none.
    effective_points: effective size of the test set behind the quantity (the least over trials),
    NaN where unknown. diverged, failed, missing: axis values of the trials left out, and why.
    """

    quantity: str
    axis: str
    law: str
    law_id: str
    dimension: int
    fixed: Mapping[str, Any]
    x: Array
    y: Array
    seed: NDArray[np.int64]
    censored: NDArray[np.bool_]
    linked: bool
    effective_time: float | None = None
    without: Array | None = None
    control: Control | None = None
    effective_points: float = float("nan")
    diverged: tuple[float, ...] = ()
    failed: tuple[float, ...] = ()
    missing: tuple[float, ...] = ()

    @property
    def levels(self) -> int:
        return len(np.unique(self.x))

    def same_trials(self, other: Curve) -> bool:
        """Whether both are quantities of the same trials along the same axis."""
        mine = self.axis, self.law_id, self.dimension, dict(self.fixed)
        return mine == (other.axis, other.law_id, other.dimension, dict(other.fixed))


@dataclass(frozen=True)
class Trials:
    """The table as arrays: `rows` [B] has a row per trial, `time` and `series[name]` are [B, T]."""

    rows: pd.DataFrame
    time: Array
    series: Mapping[str, Array]
    read: Callable[[str], Array]

    def without(self, group: int) -> Trials:
        """The trials as they are without a group of test points, 1..TEST_GROUPS; every group
        weighs the same."""
        series = dict(self.series)
        half = TEST_GROUPS // 2
        first = group <= half
        weighted = self.read(f"score_error_group{group}")
        for name, groups in (
            ("score_error", TEST_GROUPS),
            ("score_error_select" if first else "score_error_assess", half),
        ):
            series[name] = (groups * series[name] - weighted) / (groups - 1)
        unweighted = TEST_GROUPS * series["score_error_unweighted"]
        unweighted = unweighted - self.read(f"score_error_unweighted_group{group}")
        series["score_error_unweighted"] = unweighted / (TEST_GROUPS - 1)
        return replace(self, series=series)


SERIES = (
    "score_error",
    "score_error_unweighted",
    "score_error_select",
    "score_error_assess",
    "train_loss",
    "coupling",
    "kernel_score_error",
)


def trials(frame: pd.DataFrame | Table, series: Sequence[str] = SERIES) -> Trials:
    """One row per trial, by trial_id, and padded [B, T] series, from one row per trial and recorded
    step."""
    table = Table.of(frame).by_id()
    recorded = np.arange(table.counts.max(initial=0)) < table.counts[:, None]

    def padded(name: str) -> Array:
        grid = np.full(recorded.shape, np.nan)
        if name in table:
            values = pd.to_numeric(table[[name]][name])
            grid[recorded] = values.to_numpy(dtype=float, na_value=np.nan)
        return grid

    read = {name: padded(name) for name in series}
    return Trials(table.trials, padded("effective_time"), read, padded)


def _logs(values: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(values > 0, np.log(values), np.nan)


def best(time: Array, error: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """For each trial, the best effective time, the error there, and whether it is censored [B].

    time, error: [B, T]. The minimum over positive recorded times, moved to the vertex of the
    parabola through it and its neighbours in log-log. NaN where a trial has no positive value.
    """
    u, v = _logs(time), _logs(error)
    usable = np.isfinite(u) & np.isfinite(v)
    some = usable.any(axis=1)
    at = np.argmin(np.where(usable, v, np.inf), axis=1)
    every = np.arange(len(u))
    first = np.argmax(usable, axis=1)
    last = usable.shape[1] - 1 - np.argmax(usable[:, ::-1], axis=1)
    censored = some & ((at == first) | (at == last))
    left, right = np.maximum(at - 1, 0), np.minimum(at + 1, u.shape[1] - 1)
    du0, du1 = u[every, at] - u[every, left], u[every, right] - u[every, at]
    with np.errstate(invalid="ignore", divide="ignore"):
        s0 = (v[every, at] - v[every, left]) / du0
        s1 = (v[every, right] - v[every, at]) / du1
        bend = (s1 - s0) / (du0 + du1)
        tilt = (s0 * du1 + s1 * du0) / (du0 + du1)  # slope of the parabola at the minimum
        move = np.clip(-tilt / (2 * bend), -du0, du1)
        gain = tilt * move + bend * move**2
    inside = np.isfinite(move) & (bend > 0) & ~censored & some
    top_u = np.where(some, u[every, at] + np.where(inside, move, 0.0), np.nan)
    top_v = np.where(some, v[every, at] + np.where(inside, gain, 0.0), np.nan)
    return np.exp(top_u), np.exp(top_v), censored


def at_time(time: Array, values: Array, target: Array) -> Array:
    """`values` [B, T] at the effective time `target` [B], by the cubic through the four nearest
    recorded points in log-log. NaN outside a trial's own recorded times."""
    u, v, goal = _logs(time), _logs(values), _logs(target)
    usable = np.isfinite(u) & np.isfinite(v)
    u = np.where(usable, u, np.inf)
    order = np.argsort(u, axis=1, kind="stable")
    u = np.take_along_axis(u, order, axis=1)
    v = np.take_along_axis(v, order, axis=1)
    size = usable.sum(axis=1)
    after = np.sum(u < goal[:, None], axis=1)
    start = np.clip(after - 2, 0, np.maximum(size - 4, 0))
    pick = np.minimum(start[:, None] + np.arange(4), u.shape[1] - 1)
    nodes, heights = np.take_along_axis(u, pick, axis=1), np.take_along_axis(v, pick, axis=1)
    real = (start[:, None] + np.arange(4)) < size[:, None]
    total = np.zeros(len(u))
    with np.errstate(invalid="ignore", divide="ignore"):
        for i in range(4):
            term = heights[:, i].copy()
            for j in range(4):
                if j != i:
                    factor = (goal - nodes[:, j]) / (nodes[:, i] - nodes[:, j])
                    term *= np.where(real[:, j], factor, 1.0)
            total += np.where(real[:, i], term, 0.0)
    every = np.arange(len(u))
    low, high = u[:, 0], u[every, np.maximum(size - 1, 0)]
    slack = 1e-9  # the target may be a recorded time, computed another way
    outside = (size == 0) | ~(goal >= low - slack) | ~(goal <= high + slack)
    return np.where(outside, np.nan, np.exp(total))


def _column(rows: pd.DataFrame, name: str) -> Array:
    values = rows.get(name, pd.Series(np.nan, rows.index))
    return pd.to_numeric(values).to_numpy(dtype=float, na_value=np.nan)


def _final(values: Array) -> Array:
    """The value at each trial's last recorded step."""
    recorded = np.isfinite(values)
    last = values.shape[1] - 1 - np.argmax(recorded[:, ::-1], axis=1)
    final: Array = values[np.arange(len(values)), last]
    return final


def per_trial(table: Trials) -> dict[Quantity, tuple[Array, NDArray[np.bool_]]]:
    """The quantities that need no common time: values and censoring, [B] each."""
    series, time = table.series, table.time
    best_time, best_error, censored = best(time, series["score_error"])
    chosen, _error, select_censored = best(time, series["score_error_select"])
    _time, kernel_error, kernel_censored = best(time, series["kernel_score_error"])
    noise_level = _column(table.rows, "posterior_variance") / 2
    # Written so that an unknown noise level counts as not interpolated.
    still_stopped = ~(_final(series["train_loss"]) <= INTERPOLATED * noise_level)
    never_stopped = _column(table.rows, "interpolation_error")
    return {
        Quantity.BEST_ERROR: (best_error, censored),
        Quantity.BEST_ERROR_ASSESSED: (
            at_time(time, series["score_error_assess"], chosen),
            select_censored,
        ),
        Quantity.BEST_ERROR_UNWEIGHTED: (
            at_time(time, series["score_error_unweighted"], best_time),
            censored,
        ),
        Quantity.BEST_TIME: (best_time, censored),
        Quantity.FINAL_ERROR: (_final(series["score_error"]), still_stopped),
        Quantity.INTERPOLATION_ERROR: (never_stopped, np.zeros(len(time), dtype=bool)),
        Quantity.KERNEL_BEST_ERROR: (kernel_error, kernel_censored),
    }


def common_time(time: Array, best_time: Array) -> float:
    """The effective time at which the trials of a group are compared: the median of their best
    times, moved into the range of times that every one of them recorded; NaN if there is none."""
    positive = np.where(time > 0, time, np.nan)
    first, last = np.nanmin(positive, axis=1).max(), np.nanmax(positive, axis=1).min()
    known = best_time[np.isfinite(best_time)]
    if not len(known) or not first <= last:
        return float("nan")
    return float(np.clip(np.median(known), first, last))


def _groups(rows: pd.DataFrame, axis: str) -> Iterator[NDArray[np.int64]]:
    """Positions of the trials identical in all but the axis and the seed; most levels first."""
    held = [name for name in CONFIGURATION if name != axis and name in rows]
    group = rows.groupby(held, dropna=False, sort=True).ngroup().to_numpy()
    found = [np.flatnonzero(group == g) for g in range(int(group.max()) + 1)]
    kept = [p for p in found if rows[axis].iloc[p].nunique() >= MINIMUM_VALUES]
    yield from sorted(kept, key=lambda p: (-rows[axis].iloc[p].nunique(), -len(p), int(p.min())))


def curves(frame: pd.DataFrame | Table) -> list[Curve]:
    """Every curve in a results table: quantity by axis by group of trials.

    A group is the trials that agree in all of CONFIGURATION but the axis, with at least
    MINIMUM_VALUES values of it. Diverged and failed trials, and trials without a value, are left
    out and counted. Curves of a quantity that the table does not hold are not made. Largest group
    of an axis first.
    """
    table = trials(frame)
    if not len(table.rows):
        return []
    groups = list(_curve_groups(table))
    limits = [limit_beside(table.rows, group, CONFIGURATION) for group in groups]
    whole = [*groups, *(limit for limit in limits if limit is not None)]
    values = _values(table, whole)
    tested = _without_groups(table, whole)
    place = {id(group): number for number, group in enumerate(whole)}
    found = []
    for number, (group, limit) in enumerate(zip(groups, limits, strict=True)):
        for name, (y, censored) in values[number].items():
            if not np.isfinite(y).any():
                continue
            time = group.moment if name in _AT_MOMENT else None
            without = None
            if tested is not None and name in tested[number]:
                without = np.stack(tested[number][name], axis=1)
            curve = _curve(table.rows, group, name, y, censored, time, without)
            if limit is not None and name not in _WITHOUT_LIMIT:
                beside = place[id(limit)]
                z = values[beside][name]
                own = None
                if tested is not None and name in tested[beside]:
                    own = np.stack(tested[beside][name], axis=1)
                mine = group.done[np.isfinite(y)]
                control = control_of(table.rows, mine, limit, *z, own)
                curve = replace(curve, control=control)
            found.append(curve)
    return found


_WITHOUT_LIMIT = (Quantity.FINAL_ERROR, Quantity.COUPLING_AT_TIME)
"""Quantities that a trial of infinite width has at another time, or not at all."""

_AT_MOMENT = {Quantity.ERROR_AT_TIME: "score_error", Quantity.COUPLING_AT_TIME: "coupling"}

_TESTED = (
    Quantity.BEST_ERROR,
    Quantity.BEST_ERROR_ASSESSED,
    Quantity.BEST_ERROR_UNWEIGHTED,
    Quantity.BEST_TIME,
    Quantity.FINAL_ERROR,
    Quantity.ERROR_AT_TIME,
)
"""Quantities whose error over groups of test points the table holds."""

_Values = dict[Quantity, tuple[Array, NDArray[np.bool_]]]


def _curve_groups(table: Trials) -> Iterator[Group]:
    best_time = best(table.time, table.series["score_error"])[0]
    status = table.rows["status"].astype(str).to_numpy()
    for axis in (name for name in AXES if name in table.rows):
        for where in _groups(table.rows, axis):
            done = where[status[where] == TrialStatus.COMPLETED]
            if len(done):
                yield Group(axis, where, done, common_time(table.time[done], best_time[done]))


def _values(table: Trials, groups: Sequence[Group]) -> list[_Values]:
    """The quantities of each group: values and censoring of its completed trials."""
    single = per_trial(table)
    found = []
    for group in groups:
        done = group.done
        values = {name: (v[done], c[done]) for name, (v, c) in single.items()}
        for name, column in _AT_MOMENT.items():
            moment = np.full(len(done), group.moment)
            read = at_time(table.time[done], table.series[column][done], moment)
            values[name] = (read, np.zeros(len(done), dtype=bool))
        found.append(values)
    return found


def _without_groups(
    table: Trials, groups: Sequence[Group]
) -> list[dict[Quantity, list[Array]]] | None:
    """For each group of trials and quantity, the values without each group of test points; None
    where the table does not hold the errors over those."""
    if not np.isfinite(table.read("score_error_group1")).any():
        return None
    found: list[dict[Quantity, list[Array]]] = [{name: [] for name in _TESTED} for _ in groups]
    for number in range(1, TEST_GROUPS + 1):
        for mine, values in zip(found, _values(table.without(number), groups), strict=True):
            for name, kept in mine.items():
                kept.append(values[name][0])
    return found


def _curve(
    rows: pd.DataFrame,
    group: Group,
    quantity: Quantity,
    y: Array,
    censored: NDArray[np.bool_],
    time: float | None,
    without: Array | None,
) -> Curve:
    axis, where, done = group.axis, group.where, group.done
    first = rows.iloc[int(done[0])]
    value = rows[axis].to_numpy(dtype=float)
    status = rows["status"].astype(str).to_numpy()
    known = np.isfinite(y)

    def left_out(which: TrialStatus) -> tuple[float, ...]:
        return tuple(value[where[status[where] == which]].tolist())

    return Curve(
        quantity=quantity,
        axis=axis,
        law=str(first["law_label"] if "law_label" in rows else first["law"]),
        law_id=str(first["law_id"]),
        dimension=int(first["dimension"]),
        fixed={
            name: _width(first[name]) if name == "width" else _plain(first[name])
            for name in CONFIGURATION
            if name in rows and name not in {axis, "law_id", "dimension"}
        },
        x=value[done[known]],
        y=y[known],
        seed=rows["seed"].to_numpy(dtype=np.int64)[done[known]],
        censored=censored[known],
        linked=axis in LINKED_AXES,
        effective_time=time,
        without=None if without is None else without[known],
        effective_points=_least(rows.iloc[done], quantity),
        diverged=left_out(TrialStatus.DIVERGED),
        failed=left_out(TrialStatus.FAILED),
        missing=tuple(value[done[~known]].tolist()),
    )


def _least(rows: pd.DataFrame, quantity: Quantity) -> float:
    """The effective size of the test set behind a quantity; NaN where unknown, or not measured on
    the test set."""
    unweighted = quantity == Quantity.BEST_ERROR_UNWEIGHTED
    sizes = _column(rows, f"effective_points{'_unweighted' if unweighted else ''}")
    return float(np.nanmin(sizes)) if np.isfinite(sizes).any() else float("nan")


def _width(value: Any) -> int | float:
    """A whole number, or inf: the kernel limit."""
    return float(value) if np.isinf(value) else int(value)


def _plain(value: Any) -> Any:
    """A Python number, string or None, for JSON."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
