"""Shapes fitted to whole trajectories: bias and variance in time, and the crossover in width.

The score error's shape is B s^-p + V s^q N^-r with s = eta tau, fitted around the best step; it
gives a rate in N of its own (`joint_fit`). The coupling's is C(s) / (m + m*(s)) (`crossover`).

Bias and variance are powers of s over part of a trajectory only: the first steps learn the leading
eigendirections, the last ones meet interpolation. So cells within a factor of each N's best time
are fitted. The intervals are over seeds: they hold the noise, not the misfit of the shape, which is
why the misfit is reported beside them and no verdict rests on this fit.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.data.curves.trajectories import at_time, trials
from analysis.data.sweeps import Setting, Sweep, has, level_means
from analysis.data.table import Table
from analysis.drawing.plot import Panel, Plot, Series, Topic, positive
from analysis.fits.crossover import Crossover, crossover
from analysis.fits.joint import JointFit, fit_joint
from analysis.fits.surface import BIAS_VARIANCE
from analysis.levels.intervals import Array
from analysis.text import minus

TITLE = "Bias and variance in time"
CROSSOVER = "The width above which a network is lazy"
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
        caption="Lines: a falling bias and a growing variance, B s^-p + V s^q N^-r with s = ητ, "
        f"fitted jointly to all N within a factor {REACH:g} of the best time.",
        panels=(Panel(r"effective time $\eta\tau$", r"score error", positive([*lines, *points])),),
        group=setting.label,
        note=minus(_note(along, fit, left)),
        topic=Topic.STOPPING,
        aside=True,
    )


def _note(along: Sweep, fit: JointFit, left: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    told = []
    for name, slot, sign in _EXPONENTS:
        low, high = sorted(sign * end for end in fit.intervals[slot])
        told.append(f"{name} = {sign * fit.exponents[slot]:.2f} ({low:.2f} to {high:.2f})")
    p, q, r = (sign * fit.exponents[slot] for _name, slot, sign in _EXPONENTS)
    misfit = 100 * float(np.sqrt(np.mean(left**2)))
    return (
        f"{along.held}; {', '.join(told)}; so the least error falls as N^-b, b = rp/(p+q) = "
        f"{fit.rate:.2f} ({fit.rate_ci[0]:.2f} to {fit.rate_ci[1]:.2f}), and its time grows as N "
        f"to the power r/(p+q) = {r / (p + q):.2f}; the means differ from the shape by "
        f"{misfit:.2g} % (root mean square), which the intervals do not include"
    )


# --- the crossover in width -----------------------------------------------------------------------

_SHOWN = 5
"""Times at which the coupling is drawn."""


def couplings(along: Sweep) -> tuple[Array, Array, Array]:
    """Effective times [T], widths [W] and the coupling [T, S, W] of the seeds that have it at every
    width; S is 0 where none has, T where trials share no time."""
    table = trials(along.frame, ("coupling",))
    positive_times = np.where(table.time > 0, table.time, np.nan)
    first, last = np.nanmax(np.nanmin(positive_times, 1)), np.nanmin(np.nanmax(table.time, 1))
    widths = np.array(along.levels)
    if not last > first:
        return np.zeros(0), widths, np.zeros((0, 0, len(widths)))
    time = np.geomspace(first, last, TIMES)
    every = np.ones(len(table.time))
    read = [at_time(table.time, table.series["coupling"], s * every) for s in time]
    index = ["seed", "width"]
    values = table.rows[index].assign(**{str(i): column for i, column in enumerate(read)})
    by_width = values.groupby(index).first().unstack("width")
    whole = by_width.to_numpy(dtype=float).reshape(len(by_width), TIMES, -1)
    complete = ((whole > 0) & np.isfinite(whole)).all(axis=(1, 2))
    return time, widths, whole[complete].swapaxes(0, 1)


def lazy_width(setting: Setting, along: Sweep) -> Plot | tuple[str, str]:
    """Coupling against m with the fitted shape, a line per time; m* against time; and the collapse
    of all on m / m*. Or why there is none."""
    if not has(along.frame, "coupling"):
        return CROSSOVER, "the table holds no coupling"
    time, widths, coupling = couplings(along)
    fit = crossover(time, widths, coupling)
    if isinstance(fit, str):
        return CROSSOVER, fit
    resolved = np.flatnonzero(fit.resolved)
    if not len(resolved):
        return CROSSOVER, "the coupling falls as 1/m at every width and time: all are lazy"
    shown = resolved[np.unique(np.linspace(0, len(resolved) - 1, _SHOWN).round().astype(int))]
    grid = np.geomspace(widths[0], widths[-1], _GRID)
    against_m, collapsed = [], []
    for place, t in enumerate(shown):
        shade, label = place / max(len(shown) - 1, 1), rf"$\eta\tau$ = {time[t]:.3g}"
        curve = fit.height[t] / (grid + fit.m_star[t])
        means = level_means(np.repeat(widths, coupling.shape[1]), coupling[t].T.ravel())
        against_m += [
            Series(label, *means, role="points", shade=shade),
            Series("", grid, curve, shade=shade),
        ]
        share = fit.mean[t] * widths / fit.height[t]
        collapsed.append(Series(label, widths / fit.m_star[t], share, role="points", shade=shade))
    reach = widths[-1] / fit.m_star[shown].min(), widths[0] / fit.m_star[shown].max()
    ratio = np.geomspace(*reach, _GRID)
    collapsed.append(Series(r"$(1 + m_\ast/m)^{-1}$", ratio, ratio / (1 + ratio), role="theory"))
    low, high = fit.interval()
    of_time = [Series("", time, np.where(fit.resolved, fit.m_star, np.nan), low, high, "points")]
    if np.isfinite(fit.exponent):
        at, m_star = time[resolved], fit.m_star[resolved]
        middle = np.exp(np.mean(np.log(m_star)) - fit.exponent * np.mean(np.log(at)))
        label = rf"$\propto (\eta\tau)^{{{fit.exponent:.2f}}}$"
        of_time.append(Series(label, at, middle * at**fit.exponent))
    return Plot(
        name=f"{setting.stem}_lazy_width",
        title=CROSSOVER,
        caption="Coupling has the shape C(s)/(m + m*(s)) at each effective time s = ητ: above the "
        "crossover width m* it falls as 1/m, and the network is lazy.",
        panels=(
            Panel("width $m$", r"coupling", positive(against_m), title="against width"),
            Panel(
                r"effective time $\eta\tau$", r"crossover width $m_\ast$", positive(of_time),
                title="crossover width",
            ),
            Panel(r"$m / m_\ast$", r"coupling $\times\, m / C$", positive(collapsed),
                  title="one curve for all times"),
        ),
        group=setting.label,
        note=minus(_lazy_note(along, fit)),
        topic=Topic.WIDTH,
        aside=True,
    )  # fmt: skip


def _lazy_note(along: Sweep, fit: Crossover) -> str:
    last = np.flatnonzero(fit.resolved)[-1]
    low, high = (ends[last] for ends in fit.interval())
    told = (
        f"{along.held}; at s = {fit.time[last]:.3g}, m* = {fit.m_star[last]:.3g} ({low:.3g} to "
        f"{high:.3g})"
    )
    if np.isfinite(fit.exponent):
        told += (
            f"; it grows as s^{fit.exponent:.2f} (exponent {fit.low:.2f} to {fit.high:.2f}) over "
            "the times that resolve it"
        )
    return (
        f"{told}; the means differ from the shape by {100 * fit.misfit:.2g} % (root mean square), "
        "which the intervals do not include"
    )
