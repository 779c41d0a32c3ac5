"""Disagreement of twins: how far apart two trials are that were trained on independent data.

Twins are completed trials of seeds 2k and 2k + 1, equal in all else: every trial has one twin at
most, so that pairs are independent. Their distance E||f_1 - f_2||^2 over the test set, at each
one's own best step or at the last, needs no f*. As the twins are independent given the problem, it
is 2 (E[score error] - ||E f - f*||^2): half of it is at most the mean score error.

It is read from the trials' sketches (`trainers.problem.sketch`): for one pair within
sqrt(2 / SKETCH_SIZE) = 18 % (one standard deviation), for means over pairs closer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.curves.quantities import CONFIGURATION, MINIMUM_VALUES, Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.curves.tied import in_place, tied_groups
from analysis.data.curves.trajectories import unpacked
from analysis.data.table import Table
from analysis.levels.intervals import Array
from trainers.columns import SKETCH_SIZE
from trainers.trial import TrialStatus

AXIS = "samples"
"""The axis along which twins are compared."""


def twin_curves(frame: pd.DataFrame | Table) -> list[Curve]:
    """Disagreement against N, at the best and at the last step, one value a pair of twins (y, in
    units of x^2; seed is the even one of the two); for every group of trials that agree in all but
    N and the seed, or grow with N and agree in all but N, m and the seed, and have pairs at
    MINIMUM_VALUES values of N or more; none at a width where curves of growing networks meet, by
    all trials of `frame`. None for tables of before there were sketches."""
    table = Table.of(frame)
    done = (table.trials["status"] == str(TrialStatus.COMPLETED)).to_numpy()
    growing, met = tied_groups(table.trials, CONFIGURATION, MINIMUM_VALUES)
    table, met, place = table.only(done), met[done], np.cumsum(done) - 1
    rows = table.trials
    if not len(rows) or "sketch" not in table:
        return []
    steps = table[["step", "sketch"]]
    steps["trial"] = np.repeat(np.arange(len(rows)), table.counts)
    known = steps[steps["sketch"].notna().to_numpy()]
    if known.empty:
        return []
    ends = steps.groupby("trial")["step"].max()
    read = {
        Quantity.TWINS_BEST: known.drop_duplicates("trial", keep="first"),
        Quantity.TWINS_LAST: known[known["step"] == known["trial"].map(ends)],
    }
    held = [name for name in CONFIGURATION if name != AXIS and name in rows]
    group = rows.groupby(held, dropna=False, sort=True).ngroup().to_numpy()
    of_one_width = ((None, np.flatnonzero(group == one)) for one in np.unique(group[~met]))
    of_ratios = ((ratio, place[own[done[own]]]) for ratio, own in growing)
    return [
        curve
        for ratio, where in (*of_one_width, *of_ratios)
        for quantity, own in read.items()
        if (curve := _curve(rows, where, ratio, quantity, own)) is not None
    ]


def _curve(
    rows: pd.DataFrame,
    where: NDArray[np.int64],
    ratio: float | None,
    quantity: Quantity,
    read: pd.DataFrame,
) -> Curve | None:
    mine = read[read["trial"].isin(where)]
    sketches = dict(zip(mine["trial"], map(_read, mine["sketch"]), strict=True))
    place = {
        (int(rows[AXIS].iloc[i]), int(rows["seed"].iloc[i])): int(i)
        for i in where
        if sketches.get(i) is not None
    }
    pairs = [
        (n, seed, place[n, seed], place[n, seed + 1])
        for n, seed in sorted(place)
        if seed % 2 == 0 and (n, seed + 1) in place
    ]
    if len({n for n, *_ in pairs}) < MINIMUM_VALUES:
        return None
    first = rows.iloc[int(where[0])]
    return Curve(
        quantity=quantity,
        axis=AXIS,
        law=str(first["law_label"]),
        law_id=str(first["law_id"]),
        dimension=int(first["dimension"]),
        fixed=in_place(dict(_fixed(first)), ratio),
        x=np.array([n for n, *_ in pairs], dtype=float),
        y=np.array([np.mean((sketches[a] - sketches[b]) ** 2) for *_, a, b in pairs]),
        seed=np.array([seed for _, seed, *_ in pairs]),
        censored=np.zeros(len(pairs), dtype=bool),
        linked=False,
    )


def _fixed(row: pd.Series) -> Iterator[tuple[str, object]]:
    for name in CONFIGURATION:
        if name in row and name not in {AXIS, "law_id", "dimension"}:
            value = row[name]
            plain = value.item() if isinstance(value, np.generic) else value
            yield name, None if pd.isna(value) else plain


def _read(text: str) -> Array | None:
    """The sketch [K]; None for what is none, in a table from anybody."""
    values = unpacked(text)
    return values if values is not None and len(values) == SKETCH_SIZE else None
