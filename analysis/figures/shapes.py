"""The score error's bias-variance shape in time, B s^-p + V s^q N^-r with s = eta tau, fitted to
whole trajectories around their best step; and the rate in N that the shape gives (`joint_fit`).

Bias and variance are powers of s over part of a trajectory only: the first steps learn the leading
eigendirections, the last ones meet interpolation. So cells within a factor of each N's best time
are fitted. The intervals are over seeds: they hold the noise, not the misfit of the shape, which is
why the misfit is reported beside them and no verdict rests on this fit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.data.sweeps import Setting, Sweep, level_means
from analysis.data.table import Table
from analysis.figures.plot import Panel, Plot, Series, positive
from analysis.fits.joint import JointFit, fit_joint
from analysis.fits.surface import BIAS_VARIANCE
from analysis.text import minus

TITLE = "Bias and variance in time"
REACH = 4.0
"""Effective times within this factor of the best one are fitted."""

TIMES = 24
"""Effective times fitted at most: neighbours on a trajectory say nearly the same."""

_GRID = 40
_EXPONENTS = (("p", (0, "time"), 1), ("q", (1, "time"), -1), ("r", (1, "samples"), 1))


def around_best(frame: pd.DataFrame | Table, column: str = "score_error") -> pd.DataFrame:
    """trial_id, data_id, samples, effective_time and `column` of the rows within REACH of the best
    effective time of their N (median over seeds), at TIMES of their effective times or fewer."""
    rows = Table.of(frame)[["trial_id", "data_id", "samples", "effective_time", column]]
    known = rows[(rows["effective_time"] > 0) & (rows[column] > 0)]
    at = known.loc[known.groupby("trial_id")[column].idxmin()]
    best = known["samples"].map(at.groupby("samples")["effective_time"].median())
    ratio = known["effective_time"] / best
    near = known[(ratio >= 1 / REACH) & (ratio <= REACH)]
    times = np.sort(near["effective_time"].unique())
    kept = times[:: max(int(np.ceil(len(times) / TIMES)), 1)]
    return near[near["effective_time"].isin(kept)]


def fit_shape(rows: pd.DataFrame, level: float = 0.95) -> JointFit:
    """The joint fit of `around_best` rows; a trajectory's points share its training set."""
    axes = {
        "time": rows["effective_time"].to_numpy(dtype=float),
        "samples": rows["samples"].to_numpy(dtype=float),
    }
    y = rows["score_error"].to_numpy(dtype=float)
    return fit_joint(y, axes, BIAS_VARIANCE, cluster=rows["data_id"].to_numpy(), level=level)


def bias_variance(setting: Setting, along: Sweep) -> Plot | tuple[str, str]:
    """Score error against eta tau with the fitted shape, a line per N; or why there is none."""
    rows = around_best(along.frame)
    fit = fit_shape(rows)
    if not fit.ok or not np.isfinite(fit.rate):
        return TITLE, fit.message or "the fitted shape has no minimum in time"
    points, lines, misfits = [], [], []
    for n, shade, _rows in along.each():
        own = rows[rows["samples"] == n]
        if own.empty:
            continue
        x, mean, low, high = level_means(
            own["effective_time"].to_numpy(dtype=float), own["score_error"].to_numpy(dtype=float)
        )
        points.append(Series(f"$N$ = {n:g}", x, mean, low, high, role="points", shade=shade))
        grid = np.geomspace(x[0], x[-1], _GRID)
        lines.append(
            Series("", grid, fit.predict(time=grid, samples=np.full(_GRID, n)), shade=shade)
        )
        misfits.append(np.log(mean / fit.predict(time=x, samples=np.full(len(x), n))))
    left = np.concatenate(misfits)
    return Plot(
        name=f"{setting.stem}_error_shape_in_time",
        title=TITLE,
        caption=minus(_caption(along, fit, left)),
        panels=(
            Panel(
                r"effective time $\eta\tau$", r"score error ($x^2$)", positive([*lines, *points])
            ),
        ),
        group=setting.label,
    )


def _caption(
    along: Sweep, fit: JointFit, left: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> str:
    told = []
    for name, slot, sign in _EXPONENTS:
        low, high = sorted(sign * end for end in fit.intervals[slot])
        told.append(f"{name} = {sign * fit.exponents[slot]:.2f} ({low:.2f} to {high:.2f})")
    p, q, r = (sign * fit.exponents[slot] for _name, slot, sign in _EXPONENTS)
    misfit = 100 * float(np.sqrt(np.mean(left**2)))
    return (
        f"Lines: the shape B s^-p + V s^q N^-r with s = ητ, a falling bias and a growing variance, "
        f"fitted jointly to all N within a factor {REACH:g} of the best time; {along.held}. "
        f"Markers: means over seeds with their 95 % intervals. {', '.join(told)}, with 95 % "
        "intervals over seeds. At the best time of this shape the score error falls as N^-b, "
        f"b = rp/(p+q) = {fit.rate:.2f} ({fit.rate_ci[0]:.2f} to {fit.rate_ci[1]:.2f}), and the "
        f"best time grows as N to the power r/(p+q) = {r / (p + q):.2f}. The means differ from the "
        f"shape by {misfit:.2g} % (root mean square): a misfit that the intervals do not include."
    )
