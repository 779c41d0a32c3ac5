"""From trajectories to one value a trial: at the best step, at a given time, at the end.

A minimum over recorded steps is biased: it is taken at a recorded step, and chosen by the same
numbers that are then reported. So the best step is interpolated (a parabola through three
neighbours in log error against log effective time), and `BEST_ERROR_ASSESSED` chooses the time on
one half of the test set and reads the error on the other.

A best step that is the last recorded one was not reached; one that is the first came too early to
be seen. Such values are **censored**: kept in the curve, marked, and left out of fits by level, but
for a level with very few of them (`spoilt_levels`).

The generalization time is the first effective time at which the score error is within 10 % of its
least; the memorization time is the first after the least at which it is twice that (docs/theory.md,
section 12). Between recorded times the error is taken as straight in log-log.

Arrays here: B trials, T recorded steps, padded with NaN.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.curves.quantity import Quantity
from analysis.data.results import status_rank
from analysis.data.sweeps import follows_kernel
from analysis.data.table import Table
from analysis.levels.intervals import Array
from trainers.columns import TEST_GROUPS
from trainers.trial import UNSAID, TrialStatus

CENSORED_SHARE = 0.02
"""Of the trials of a level: so few censored ones do not spoil it."""

NEAR = 1.1
"""Of the least error: what counts as reached."""

TWICE = 2.0
"""Of the least error: what counts as memorized."""

Clock = tuple[Array, NDArray[np.bool_]]
"""Times eta tau [B], and whether the true one is not within what was recorded [B]."""

INTERPOLATED = 0.05
"""A final error counts as unstopped where the training loss is below this share of the noise level
E||X_0 - f*||^2 / 2: the network then fits the noise in its labels. Short of that, descent is still
regularised by its time, however many best times it ran."""


@dataclass(frozen=True)
class Trials:
    """The table as arrays: `rows` [B] has a row per trial, `time` and `series[name]` are [B, T]."""

    rows: pd.DataFrame
    time: Array
    series: Mapping[str, Array]
    read: Callable[[str], Array]

    def without(self, group: int) -> Trials:
        """The trials as they are without a group of test points, 1..TEST_GROUPS; every group
        weighs the same. Of the kernel's error the table holds no groups: at infinite width it is
        the trial's own, beside a network it is not known."""
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
        infinite = np.isinf(numbers(self.rows, "width"))[:, None]
        series["kernel_score_error"] = np.where(
            infinite & np.isfinite(self.series["kernel_score_error"]), series["score_error"], np.nan
        )
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


def clocks(time: Array, error: Array) -> tuple[Clock, Clock]:
    """The generalization and the memorization time of trials, from eta tau and score errors [B, T].

    A memorization that was not reached has the last recorded time, censored. Where the error still
    falls at the last recorded time its least is not known, and neither is either clock. Where the
    least is between recorded times of which none before it comes near, so is the generalization.
    """
    at, least, unsettled = best(time, error)
    u, v = _logs(time), _logs(error)
    usable = np.isfinite(u) & np.isfinite(v)
    inside = (u <= np.log(at)[:, None]) & usable
    near = np.log(NEAR * least)
    generalized, seen = _first(u, v, near, inside, rising=False)
    between = _onto(u, v, near, inside, (np.log(at), np.log(least)))
    generalized = np.where(seen, generalized, between)
    after = (u >= np.log(at)[:, None]) & usable
    memorized, reached = _first(u, v, np.log(TWICE * least), after, rising=True)
    last = np.max(np.where(usable, u, -np.inf), axis=1, initial=-np.inf)
    unknown = ~np.isfinite(at)
    last[reached] = memorized[reached]
    generalized[unknown] = last[unknown] = np.nan
    return (np.exp(generalized), unsettled), (np.exp(last), unsettled | ~reached)


def _first(
    u: Array, v: Array, level: Array, among: NDArray[np.bool_], rising: bool
) -> tuple[Array, NDArray[np.bool_]]:
    """The first log time, of those `among`, at which v [B, T] is at the level [B] or past it, moved
    to where the line from the recorded time before it meets the level; and whether there is one."""
    past = v >= level[:, None] if rising else v <= level[:, None]
    met = past & among
    reached = np.asarray(met.any(axis=1))
    every, at = np.arange(len(u)), np.argmax(met, axis=1)
    before = np.maximum(at - 1, 0)
    u0, u1, v0, v1 = u[every, before], u[every, at], v[every, before], v[every, at]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip((level - v0) / (v1 - v0), 0.0, 1.0)
    moved = np.isfinite(share) & np.isfinite(u0)
    return np.where(moved, u0 + np.where(moved, share, 0.0) * (u1 - u0), u1), reached


def _onto(
    u: Array, v: Array, level: Array, among: NDArray[np.bool_], end: tuple[Array, Array]
) -> Array:
    """The log time at which the line from the last recorded one of those `among` to `end`, a log
    time and a log error [B], meets the level [B]."""
    last = u.shape[1] - 1 - np.argmax(among[:, ::-1], axis=1)
    u0, v0 = (values[np.arange(len(u)), last] for values in (u, v))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.clip((level - v0) / (end[1] - v0), 0.0, 1.0)
    return np.asarray(u0 + share * (end[0] - u0))


def spoilt_levels(x: Array, censored: NDArray[np.bool_]) -> Array:
    """The values of an axis x [n] at which more than CENSORED_SHARE of the trials are censored [n].

    Without its censored trials a level would be a selected sample. Few of many it keeps, with the
    values recorded: they move its mean by less than that share of what they are off.
    """
    levels, at = np.unique(x, return_inverse=True)
    share = np.bincount(at, weights=censored) / np.bincount(at)
    return levels[share > CENSORED_SHARE]


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


def each_once(rows: pd.DataFrame, where: NDArray[np.int64], column: str) -> NDArray[np.int64]:
    """Of the trials at `where` of one configuration but for `column`, one for each value of that
    and data set: the best status, then the first. Others differ in how they were measured alone
    (`test_points`, `recorded`), and are no second seed: data_id holds the seed of the weights."""
    if "data_id" not in rows:
        return where
    own = rows.iloc[where]
    order = np.argsort(status_rank(own).to_numpy(), kind="stable")
    same = own[[column, "data_id", "seed"]].iloc[order]
    again = (same.duplicated() & same["data_id"].notna()).to_numpy()
    return np.sort(where[order[~again]])


def numbers(rows: pd.DataFrame, name: str) -> Array:
    values = rows.get(name, pd.Series(np.nan, rows.index))
    return pd.to_numeric(values).to_numpy(dtype=float, na_value=np.nan)


def unpacked(text: object) -> Array | None:
    """Numbers that a column holds as float32 in base64; None for what is none, or not finite, in a
    table from anybody."""
    if not isinstance(text, str):
        return None
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(float)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _final(values: Array) -> Array:
    """The value at each trial's last recorded step."""
    recorded = np.isfinite(values)
    last = values.shape[1] - 1 - np.argmax(recorded[:, ::-1], axis=1)
    final: Array = values[np.arange(len(values)), last]
    return final


def per_trial(table: Trials) -> dict[Quantity, tuple[Array, NDArray[np.bool_]]]:
    """The quantities that need no common time: values and censoring, [B] each."""
    series, time = table.series, table.time
    error = series["score_error"]
    best_time, best_error, censored = best(time, error)
    chosen, _error, select_censored = best(time, series["score_error_select"])
    kernel_time, kernel_error, kernel_censored = best(time, series["kernel_score_error"])
    noise_level = numbers(table.rows, "noise_variance") * numbers(table.rows, "dimension") / 2
    # Written so that an unknown noise level counts as not interpolated.
    still_stopped = ~(_final(series["train_loss"]) <= INTERPOLATED * noise_level)
    never_stopped = numbers(table.rows, "interpolation_error")
    generalized, memorized = clocks(time, np.where(_copied(table.rows)[:, None], error, np.nan))
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
        Quantity.KERNEL_BEST_TIME: (kernel_time, kernel_censored),
        Quantity.GENERALIZATION_TIME: generalized,
        Quantity.MEMORIZATION_TIME: memorized,
        Quantity.MEMORIZATION_RATIO: (memorized[0] / generalized[0], memorized[1]),
    }


def shorter_than_limit(table: Trials, best_time: Array) -> NDArray[np.bool_]:
    """The networks that were recorded up to a time before the best one of their kernel limit on the
    same data, where a trial of infinite width is that [B]. Error may have several minima over time:
    they came to another one, and whether they would come to a lower one is not known. Their best
    error is then an upper bound of what more steps reach. best_time: of all trials [B]."""
    rows, short = table.rows, np.zeros(len(best_time), dtype=bool)
    infinite = np.isinf(numbers(rows, "width"))
    if not {"data_id", "feature_bias", "trainer", "status"} <= set(rows) or not infinite.any():
        return short
    known = rows["data_id"].notna().to_numpy()
    # data and features decide the kernel; limits of several step sizes are one
    key = rows["data_id"].astype(str) + " " + rows["feature_bias"].astype(str)
    completed = (rows["status"].astype(str) == TrialStatus.COMPLETED).to_numpy()
    ended = infinite & known & completed & np.isfinite(best_time)
    at_limit = pd.Series(best_time[ended]).groupby(key[ended].to_numpy()).min()
    networks = np.flatnonzero(~infinite & known & follows_kernel(rows).to_numpy())
    last = np.max(np.where(np.isfinite(table.time), table.time, 0.0), axis=1, initial=0.0)
    reach = key.iloc[networks].map(at_limit).to_numpy(dtype=float)
    short[networks] = reach > last[networks]
    return short


def _copied(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """The trials whose clean points have several noisy copies: one copy cannot be memorized."""
    copies = numbers(rows, "copies")
    return np.asarray(np.isfinite(copies) & (copies != UNSAID["copies"]))


def common_time(time: Array, best_time: Array) -> float:
    """The effective time at which the trials of a group are compared: the median of their best
    times, moved into the range of times that every one of them recorded; NaN if there is none."""
    positive = np.where(time > 0, time, np.nan)
    first, last = np.nanmin(positive, axis=1).max(), np.nanmax(positive, axis=1).min()
    known = best_time[np.isfinite(best_time)]
    if not len(known) or not first <= last:
        return float("nan")
    return float(np.clip(np.median(known), first, last))
