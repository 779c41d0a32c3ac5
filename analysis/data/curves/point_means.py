"""The means of points, trials that differ in their seed alone: what a study says that varies no
axis, and so has no rate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.data.curves.trajectories import best, trials
from analysis.data.sweeps import mean_with_ends
from analysis.data.table import Table
from trainers.trial import TrialStatus

POINT_COLUMNS = (
    *("law_label", "dimension", "samples", "width", "step_size", "trainer", "seeds"),
    *("score_error", "error_low", "error_high", "effective_time"),
    *("holdout_loss", "loss_low", "loss_high"),
)


def point_means(frame: pd.DataFrame | Table) -> pd.DataFrame:
    """A row a point, in POINT_COLUMNS: over its completed trials the mean score error at the best
    step and the mean of the least held-out loss along the trajectory, each with the 95 % interval
    over seeds (NaN with one), and the geometric mean of the best effective time. NaN where not
    known; the least of a trajectory is taken on the points that measure it, so it is biased low."""
    every = trials(Table.of(frame), ("score_error", "holdout_loss"))
    rows = every.rows
    if not every.time.size:  # nothing was recorded, of any trial
        return pd.DataFrame(columns=list(POINT_COLUMNS))
    moment, error, _censored = best(every.time, every.series["score_error"])
    loss = np.nanmin(np.where(np.isfinite(h := every.series["holdout_loss"]), h, np.inf), axis=1)
    completed = (rows["status"] == TrialStatus.COMPLETED).to_numpy()
    found = []
    for _, own in rows.groupby("point_id", sort=False):
        where = own.index.to_numpy()
        done = where[completed[where]]
        if not len(done):
            continue
        first = own.iloc[0]
        known = done[np.isfinite(error[done])]
        found.append(
            (
                *(first[name] for name in POINT_COLUMNS[:6]),
                len(done),
                *mean_with_ends(error[known]),
                mean_with_ends(moment[known], geometric=True)[0],
                *mean_with_ends(loss[done][np.isfinite(loss[done])]),
            )
        )
    table = pd.DataFrame(found, columns=list(POINT_COLUMNS))
    return table.sort_values(list(POINT_COLUMNS[:6]), ignore_index=True)
