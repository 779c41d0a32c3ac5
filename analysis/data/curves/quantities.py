"""From the results table to curves: for each quantity and axis, one value per trial.

`trajectories` reads the values; here trials that differ in the axis and the seed only make a curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.curves.limit_beside import Group, control_of, limit_beside
from analysis.data.curves.quantity import GEOMETRIC, Quantity
from analysis.data.curves.tied import in_place, tied_groups
from analysis.data.curves.trajectories import (
    Trials,
    at_time,
    best,
    common_time,
    each_once,
    numbers,
    per_trial,
    shorter_than_limit,
    spoilt_levels,
    trials,
)
from analysis.data.sweeps import PER_SAMPLE, held, sizes
from analysis.data.table import Table
from analysis.levels.intervals import Array
from analysis.levels.two_levels import Control
from trainers.columns import IDENTITY_COLUMNS, TEST_GROUPS
from trainers.trial import TrialStatus

INVERSE_T_MIN = "inverse_t_min"
"""1/T_0: theory speaks of T_0 -> 0, and exponents are those of large x."""

AXES = ("samples", "width", "step_size", INVERSE_T_MIN)
"""Axes along which curves are looked for."""

LINKED_AXES = ("width", "step_size", INVERSE_T_MIN)
"""Axes along which trials of one seed share their data. Data at different N are independent."""

MINIMUM_VALUES = 3
"""Distinct values of an axis that make a curve."""


def column_of(axis: str) -> str:
    """The column of the results table that an axis of curves is made of."""
    return "t_min" if axis == INVERSE_T_MIN else axis


def axis_values(rows: pd.DataFrame, axis: str) -> Array:
    """The values of an axis [n], one a row."""
    values = rows[column_of(axis)].to_numpy(dtype=float)
    return np.asarray(1 / values if axis == INVERSE_T_MIN else values)


def along(rows: pd.DataFrame, axis: str, setting: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The rows that agree in all of `setting` but the axis, sorted by axis and seed, of each group
    with MINIMUM_VALUES values of the axis or more."""
    column = column_of(axis)
    held = [name for name in setting if name != column and name in rows]
    for _, own in rows.groupby(held, dropna=False, sort=True):
        if own[column].nunique() >= MINIMUM_VALUES:
            yield own.sort_values([column, "seed"])


_NOT_CONFIGURATION = {"trial_id", "point_id", "data_id", "study", "law", "law_label", "seed"}

CONFIGURATION = tuple(
    column.name for column in IDENTITY_COLUMNS if column.name not in _NOT_CONFIGURATION
)


@dataclass(frozen=True)
class SamplerError:
    """What sampling adds to its network's error, the largest over trials. discretisation: energy
    distance of samples by the true score, over what exact draws reach. start: the part of
    Girsanov's bound that is KL(p_T || start)."""

    discretisation: float
    start: float


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity along an axis, all else fixed: x, y, seed, censored [n], one entry per trial.
    Curves are told apart by identity, so that what is made of one can be kept by it.

    fixed: the configuration held fixed; of networks that grow with N not `width` but
    `width_per_sample`, m/N. effective_time: the common eta tau of the quantities read
    at a fixed time, else None. linked: the trials of one seed share their data along the axis.
    A final error is marked censored where the network does not fit its noise: see INTERPOLATED.
    without: y without each group of test points [n, K], None where the table does not tell.
    control: the kernel limit's values on the same data and more, None where there are none.
    effective_points: effective size of the test set behind the quantity (the least over trials),
    NaN where unknown. sampler, sampled: of quantities of samples, the latter how they were made, as
    the column `sampled` says it. diverged, failed, missing: axis values of
    the trials left out, and why.
    short: axis values at which networks were recorded to a time before their kernel limit's best
    one (`shorter_than_limit`), so that more steps may find a lower error.
    draws: the curves of the draws of the law that this one pools (`analysis.verdicts.draws`);
    missing are then the values of the axis that all tried and some lost. left_out: those of the
    draws that have too few values left to be one of them.
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
    sampler: SamplerError | None = None
    sampled: str = ""
    diverged: tuple[float, ...] = ()
    failed: tuple[float, ...] = ()
    missing: tuple[float, ...] = ()
    short: tuple[float, ...] = ()
    draws: tuple[Curve, ...] = ()
    left_out: tuple[Curve, ...] = ()

    @property
    def levels(self) -> int:
        return len(np.unique(self.x))

    @property
    def held(self) -> str:
        """What of N, m and eta it holds fixed: `m = 256, η = 2`; `m = 4 N` where m grows."""
        return held(sizes(self.fixed))

    def __repr__(self) -> str:
        width = self.fixed.get("width", "swept")
        width = f"{self.fixed[PER_SAMPLE]:g} N" if PER_SAMPLE in self.fixed else width
        at = f"{self.law}, d = {self.dimension}, width {width}"
        number = f"{len(self.x)} values at {self.levels} of {self.axis}"
        return f"Curve({self.quantity} against {self.axis}: {at}: {number})"

    def to_frame(self) -> pd.DataFrame:
        """A row a trial: x under its axis' name, y under its quantity's, seed and censored."""
        columns = {
            self.axis: self.x, str(self.quantity): self.y,
            "seed": self.seed, "censored": self.censored,
        }  # fmt: skip
        return pd.DataFrame(columns)

    @property
    def spoilt(self) -> Array:
        """Its levels that censored trials spoil."""
        return spoilt_levels(self.x, self.censored)

    @property
    def geometric(self) -> bool:
        """Whether its level means are geometric ones."""
        return self.quantity in GEOMETRIC or bool(self.draws)

    def only(self, keep: NDArray[np.bool_]) -> Curve:
        """The curve of some of its trials, keep [n]."""
        return replace(
            self,
            x=self.x[keep],
            y=self.y[keep],
            seed=self.seed[keep],
            censored=self.censored[keep],
            without=None if self.without is None else self.without[keep],
            control=None if self.control is None else self.control.of(keep),
        )

    def same_trials(self, other: Curve) -> bool:
        """Whether both are quantities of the same trials along the same axis."""
        mine = self.axis, self.law_id, self.dimension, dict(self.fixed)
        return mine == (other.axis, other.law_id, other.dimension, dict(other.fixed))


def _groups(rows: pd.DataFrame, axis: str) -> Iterator[tuple[float | None, NDArray[np.int64]]]:
    """Positions of the trials identical in all but the axis and the seed, without a ratio, and
    along N those of networks that grow with it, with their m/N; networks first, of one width before
    growing ones, then most levels."""
    column = column_of(axis)
    held = [name for name in CONFIGURATION if name != column and name in rows]
    group = rows.groupby(held, dropna=False, sort=True).ngroup().to_numpy()
    found = [np.flatnonzero(group == g) for g in range(int(group.max()) + 1)]
    kept: list[tuple[float | None, NDArray[np.int64]]] = [
        (None, p) for p in found if rows[column].iloc[p].nunique() >= MINIMUM_VALUES
    ]
    if axis == "samples":
        growing, met = tied_groups(rows, CONFIGURATION, MINIMUM_VALUES)
        kept = [*((none, p) for none, p in kept if not met[p].all()), *growing]
    infinite = np.isinf(rows["width"].to_numpy(dtype=float))

    def rank(one: tuple[float | None, NDArray[np.int64]]) -> tuple[bool, bool, int, int, int]:
        ratio, p = one
        levels = rows[column].iloc[p].nunique()
        return bool(infinite[p].all()), ratio is not None, -levels, -len(p), int(p.min())

    yield from sorted(kept, key=rank)


def curves(frame: pd.DataFrame | Table) -> list[Curve]:
    """Every curve in a results table: quantity by axis by group of trials.

    A group is the trials that agree in all of CONFIGURATION but the axis, with at least
    MINIMUM_VALUES values of it; along N also those that agree in all but N and m, of one m/N
    (`analysis.data.curves.tied`). A data set counts once at a value of the axis (`each_once`).
    Diverged and failed trials, and trials without a value, are left out and counted. Curves of a
    quantity that the table does not hold are not made. Of an axis, networks come before trials of
    infinite width, then the largest group first.
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
            without = _stacked(tested, number, name)
            curve = _curve(table.rows, group, name, y, censored, time, without)
            if limit is not None and name not in _WITHOUT_LIMIT:
                beside = place[id(limit)]
                z = values[beside][name]
                own = None if without is None else _stacked(tested, beside, name)
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
    Quantity.KERNEL_BEST_ERROR,
    Quantity.KERNEL_BEST_TIME,
)
"""Quantities whose error over groups of test points the table holds. The kernel's best ones are
among them at infinite width alone, where they are those of the trial itself; what they are over
groups beside a network no column says, nor of the interpolation error at any width."""

_Values = dict[Quantity, tuple[Array, NDArray[np.bool_]]]


def _curve_groups(table: Trials) -> Iterator[Group]:
    best_time = best(table.time, table.series["score_error"])[0]
    status = table.rows["status"].astype(str).to_numpy()
    short = shorter_than_limit(table, best_time)
    for axis in (name for name in AXES if column_of(name) in table.rows):
        for ratio, every in _groups(table.rows, axis):
            where = each_once(table.rows, every, column_of(axis))
            done = where[status[where] == TrialStatus.COMPLETED]
            if len(done):
                moment = common_time(table.time[done], best_time[done])
                where_short = axis_values(table.rows, axis)[done[short[done]]]
                yield Group(
                    axis, where, done, moment, ratio, tuple(np.unique(where_short).tolist())
                )


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


def _stacked(
    tested: list[dict[Quantity, list[Array]]] | None, number: int, quantity: Quantity
) -> Array | None:
    """A group's values without each group of test points [n, K]; None where nothing is known."""
    if tested is None or quantity not in tested[number]:
        return None
    without = np.stack(tested[number][quantity], axis=1)
    return without if np.isfinite(without).any() else None


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
    value = axis_values(rows, axis)
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
        fixed=in_place(
            {
                name: _width(first[name]) if name == "width" else _plain(first[name])
                for name in CONFIGURATION
                if name in rows and name not in {column_of(axis), "law_id", "dimension"}
            },
            group.ratio,
        ),
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
        short=group.short,
    )


def _least(rows: pd.DataFrame, quantity: Quantity) -> float:
    """The effective size of the test set behind a quantity; NaN where unknown, or not measured on
    the test set."""
    unweighted = quantity == Quantity.BEST_ERROR_UNWEIGHTED
    sizes = numbers(rows, f"effective_points{'_unweighted' if unweighted else ''}")
    return float(np.nanmin(sizes)) if np.isfinite(sizes).any() else float("nan")


def _width(value: Any) -> int | float:
    """A whole number, or inf: the kernel limit."""
    return float(value) if np.isinf(value) else int(value)


def _plain(value: Any) -> Any:
    """A Python number, string or None, for JSON."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value
