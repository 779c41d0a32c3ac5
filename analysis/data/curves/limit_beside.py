"""The trials of infinite width that stand beside those of a curve over N, on the same data sets and
on more. What they tell of the curve is in `analysis.levels.two_levels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.curves.trajectories import each_once, spoilt_levels
from analysis.data.sweeps import PER_SAMPLE
from analysis.levels.intervals import Array
from analysis.levels.two_levels import Control
from trainers.trial import TrialStatus

OF_NETWORKS = ("width", PER_SAMPLE, "initialisation", "precision", "steps", "trainer")
"""What a trial of infinite width has no choice of: networks that differ in these share theirs."""


@dataclass(frozen=True)
class Group:
    """Trials that make curves along an axis: where they all are, those completed, and the common
    effective time. ratio: m/N of networks that grow with N, None of others. short: where on the
    axis networks were recorded to a time before their limit's best one."""

    axis: str
    where: NDArray[np.int64]
    done: NDArray[np.int64]
    moment: float
    ratio: float | None = None
    short: tuple[float, ...] = ()


def limit_beside(rows: pd.DataFrame, group: Group, configuration: Sequence[str]) -> Group | None:
    """The trials of infinite width with the configuration of a group of networks along N, read at
    the same time; None where there are none.

    Along other axes the trials of a seed share their data, so that what the data happen to be
    cancels in the curve by itself.
    """
    if group.axis != "samples" or "data_id" not in rows:
        return None
    infinite = np.isinf(rows["width"].to_numpy(dtype=float))
    if infinite[group.where].any() or not infinite.any():
        return None
    first = rows.iloc[int(group.done[0])]
    same = infinite
    for name in (n for n in configuration if n in rows and n not in (group.axis, *OF_NETWORKS)):
        equal = rows[name].isna() if pd.isna(first[name]) else rows[name] == first[name]
        same = same & equal.fillna(False).to_numpy(dtype=bool)
    where = each_once(rows, np.flatnonzero(same), group.axis)
    done = where[rows["status"].iloc[where].astype(str) == TrialStatus.COMPLETED]
    return Group(group.axis, where, done, group.moment) if len(done) else None


def control_of(
    rows: pd.DataFrame,
    mine: NDArray[np.int64],
    limit: Group,
    z: Array,
    censored: NDArray[np.bool_],
    without: Array | None,
) -> Control:
    """The Control of a curve's trials `mine`: data sets in place of seeds.

    z, censored [n], without [n, K]: of the trials limit.done. A level that censored trials spoil,
    or where one diverged, is left out whole, as in a curve: the others are a selected sample.
    """
    x = rows["samples"].to_numpy(dtype=float)
    ill = rows["status"].iloc[limit.where].astype(str).to_numpy() == TrialStatus.DIVERGED
    spoilt = np.concatenate([x[limit.where[ill]], spoilt_levels(x[limit.done], censored)])
    keep = np.isfinite(z) & ~np.isin(x[limit.done], spoilt)
    names = pd.factorize(rows["data_id"])[0].astype(np.int64)
    kept = None if without is None else without[keep]
    if kept is not None and not (np.isfinite(kept) & (kept > 0)).all():
        kept = None
    return Control(names[mine], x[limit.done[keep]], z[keep], names[limit.done[keep]], kept)
