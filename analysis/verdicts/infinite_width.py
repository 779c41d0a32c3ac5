"""The N-rate at infinite width: b of A N^-b + C m^-c, from the sweeps that a study has.

A rate measured at one width m holds the error that width leaves, C m^-c, as if it fell with N. The
joint fit of all trials that differ in N and m only takes it out. Two sweeps that cross (N at one m,
m at one N) are enough if the two terms add up, which only trials off the cross can test. Where
trials of infinite width stand beside the curve, the rate is that which they show, and nothing is
extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.data.curves.limit_beside import OF_NETWORKS
from analysis.data.curves.quantities import CONFIGURATION, Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.curves.trajectories import Trials, per_trial, spoilt_levels
from analysis.fits.joint import JointFit, fit_joint
from analysis.fits.power_law import PowerLawFit
from analysis.text import counted, p_text
from trainers.registry import DESCENT
from trainers.trial import TrialStatus


@dataclass(frozen=True)
class InfiniteWidth:
    """The rate and its interval, NaN where refused; `message` says why, or what it rests on.
    width_exponent: c. additivity: p-value of the terms adding up, None where untestable. measured:
    by trials of infinite width, not by the joint fit."""

    status: str
    message: str
    exponent: float
    ci_low: float
    ci_high: float
    width_exponent: float
    additivity: float | None
    cells: int
    measured: bool = False


def infinite_width(table: Trials, curve: Curve, level: float = 0.95) -> InfiniteWidth | None:
    """The joint fit that belongs to a curve of the best error over N; None where its trials have a
    single width, or a single m/N, where both terms are powers of N. Points where a trial diverged,
    or has no best step inside the recorded ones, are left out whole."""
    if curve.axis != "samples" or curve.quantity != Quantity.BEST_ERROR:
        return None
    rows = table.rows
    held = [name for name in CONFIGURATION if name in rows and name not in ("samples", "width")]
    wanted = {**curve.fixed, "law_id": curve.law_id, "dimension": curve.dimension}
    same = np.ones(len(rows), dtype=bool)
    for name in held:
        value = wanted.get(name)
        equal = rows[name].isna() if value is None else (rows[name] == value).fillna(False)
        same &= equal.to_numpy(dtype=bool)
    widths, samples = (rows.loc[same, name] for name in ("width", "samples"))
    if widths.nunique() < 2 or (widths / samples).nunique() < 2:
        return None
    error, censored = per_trial(table)[Quantity.BEST_ERROR]
    status = rows["status"].astype(str).to_numpy()
    cell = rows.groupby(["samples", "width"]).ngroup().to_numpy()
    use = same & (status == TrialStatus.COMPLETED) & np.isfinite(error)
    use &= ~np.isin(cell, cell[same & (status == TrialStatus.DIVERGED)])
    use &= ~np.isin(cell, spoilt_levels(cell[same].astype(float), censored[same]))
    axes = {name: rows.loc[use, name].to_numpy(dtype=float) for name in ("samples", "width")}
    fit = fit_joint(error[use], axes, cluster=rows.loc[use, "data_id"].to_numpy(), level=level)
    return _told(fit)


def limit_of(curve: Curve, every: Sequence[Curve]) -> Curve | None:
    """The curve of the trials of infinite width beside a curve over N; None where there are none,
    or where it is no limit of these networks: descent from 0 it is."""
    own = curve.fixed.get("initialisation") == "symmetric"
    own = own and curve.fixed.get("trainer") == DESCENT
    if curve.control is None or not own:
        return None
    found = (c for c in every if c.fixed.get("width") == math.inf and _shared(c) == _shared(curve))
    return next(found, None)


def _shared(curve: Curve) -> tuple[object, ...]:
    """What a curve shares with its limit."""
    held = {name: value for name, value in curve.fixed.items() if name not in OF_NETWORKS}
    return curve.quantity, curve.axis, curve.law_id, curve.dimension, held


def at_least(fit: PowerLawFit) -> str:
    """The seeds of a level: `8 seeds`, or `8 seeds or more` where levels have different numbers."""
    more = " or more" * (fit.trials > fit.seeds * fit.points)
    return f"{counted(fit.seeds, 'seed')}{more}"


def measured(fit: PowerLawFit, joint: InfiniteWidth | None) -> InfiniteWidth | None:
    """The rate of a fit at infinite width, with the joint fit's exponent of the width where there
    is one; `joint` where the fit has no rate."""
    if not fit.ok:
        return joint
    return InfiniteWidth(
        str(fit.status),
        f"measured, {at_least(fit)} at each of {fit.points} N",
        fit.exponent,
        *fit.ci,
        math.nan if joint is None else joint.width_exponent,
        None if joint is None else joint.additivity,
        fit.points,
        measured=True,
    )


def _told(fit: JointFit) -> InfiniteWidth:
    low, high = fit.intervals.get((0, "samples"), (np.nan, np.nan))
    message = fit.message
    if fit.additivity is not None and fit.additivity < 0.05:
        message = "; ".join(
            filter(None, [message, f"the terms do not add up ({p_text(fit.additivity)})"])
        )
    return InfiniteWidth(
        str(fit.status),
        message,
        fit.exponents.get((0, "samples"), np.nan),
        low,
        high,
        fit.exponents.get((1, "width"), np.nan),
        fit.additivity,
        fit.cells,
    )
