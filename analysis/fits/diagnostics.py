"""Is the curve a power law at all? Local slopes, curvature, forecast of the last level, refusals.

All are contrasts of log level means (see `intervals`), so they carry the same honest errors as
the exponent itself. Exponents are b in y ~ x^-b: minus the slope in log-log.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.fits.intervals import Array, Contrast, LevelMeans, Method

REFUSAL_P = 1e-3
"""Significance, after Bonferroni over levels, below which a break in the curve is believed."""

REFUSAL_SHARE = 0.25
"""A break matters when it is at least this share of the curve's whole log range ..."""

REFUSAL_SIZE = math.log(1.2)
"""... and at least this large: wiggles below 20 % never refuse a curve."""


@dataclass(frozen=True)
class LocalSlope:
    """The exponent over a window of neighbouring levels."""

    low: float
    high: float
    exponent: float
    error: float
    freedom: float

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided Student interval at `level`."""
        return Contrast(self.exponent, self.error, self.freedom).interval(level)


@dataclass(frozen=True)
class Curvature:
    """t-test of the quadratic term of log y in log x. `drift` is the change of the exponent b
    from the smallest x to the largest, by that quadratic."""

    drift: float
    error: float
    statistic: float
    p_value: float


@dataclass(frozen=True)
class Holdout:
    """The largest level, forecast by a line through the others. `z` is the log difference in
    standard errors of itself (observed above the forecast: positive)."""

    x: float
    predicted: float
    observed: float
    z: float
    p_value: float


@dataclass(frozen=True)
class Spread:
    """The largest departure of a level mean from the geometric mean of all, as |log ratio|, with
    a simultaneous (Bonferroni) interval: what "does not depend on x" is judged by."""

    estimate: float
    low: float
    high: float


def window_size(levels: int) -> int:
    """Levels in a window of local slopes: half of them, at least 3."""
    return max(3, levels // 2)


def local_slopes(means: LevelMeans) -> tuple[LocalSlope, ...]:
    """The exponent in each sliding window of `window_size` levels, smallest x first."""
    size = window_size(len(means.x))
    found = []
    for start in range(len(means.x) - size + 1):
        row = -means.polynomial(1, slice(start, start + size))[1]
        fit = means.contrast(row)
        low, high = float(means.x[start]), float(means.x[start + size - 1])
        found.append(LocalSlope(low, high, fit.estimate, fit.error, fit.freedom))
    return tuple(found)


def slope_at(means: LevelMeans, ahead: float) -> LocalSlope | None:
    """The exponent by a quadratic in log-log, `ahead` whole log ranges beyond the largest x:
    0 is where the curve stands at its end, 1 where it would stand if its drift went on unabated
    over another range as long as the measured one. None with fewer than 4 levels."""
    if len(means.x) < 4:
        return None
    rows = means.polynomial(2)
    at = float(means.u[-1] + ahead * (means.u[-1] - means.u[0]))
    fit = means.contrast(-(rows[1] + 2 * (at - means.u.mean()) * rows[2]), degree=2)
    return LocalSlope(math.exp(at), math.exp(at), fit.estimate, fit.error, fit.freedom)


def curvature(means: LevelMeans) -> Curvature | None:
    """Test of the quadratic term; None with fewer than 4 levels."""
    if len(means.x) < 4:
        return None
    reach = means.u[-1] - means.u[0]
    fit = means.contrast(-2 * reach * means.polynomial(2)[2], degree=2)
    if abs(fit.estimate) < 1e-9:  # rounding of exact data
        return Curvature(fit.estimate, fit.error, 0.0, 1.0)
    return Curvature(fit.estimate, fit.error, fit.statistic, fit.p_value)


def holdout(means: LevelMeans) -> Holdout | None:
    """Forecast of the last level from the others; None with fewer than 4 levels."""
    if len(means.x) < 4:
        return None
    rows = means.polynomial(1, slice(0, -1))
    forecast = rows[0] + (means.u[-1] - means.u.mean()) * rows[1]
    difference = -forecast
    difference[-1] += 1.0
    gap = means.contrast(difference)
    predicted = math.exp(float(forecast @ means.log_mean))
    if abs(gap.estimate) < 1e-9:
        return Holdout(float(means.x[-1]), predicted, float(means.mean[-1]), 0.0, 1.0)
    return Holdout(float(means.x[-1]), predicted, float(means.mean[-1]), gap.statistic, gap.p_value)


def spread(means: LevelMeans, level: float) -> Spread:
    """How far level means stand from their geometric mean, simultaneously over levels."""
    size = len(means.x)
    rows = np.eye(size) - 1.0 / size
    each = [means.contrast(row, degree=0) for row in rows]
    share = 1 - (1 - level) / size
    ends = np.array([c.interval(share) for c in each])
    centre = np.abs([c.estimate for c in each])
    low = np.where(np.prod(np.sign(ends), axis=1) > 0, np.abs(ends).min(axis=1), 0.0)
    return Spread(float(centre.max()), float(low.max()), float(np.abs(ends).max()))


def log_bias(means: LevelMeans) -> float:
    """Shift of the exponent that the jackknife took out, because E[log mean] is below
    log E[mean]. Near zero when the relative noise is the same at all levels."""
    return float(-means.polynomial(1)[1] @ (np.log(means.mean) - means.log_mean))


def _monotone(values: Array, weights: Array) -> Array:
    """Weighted isotonic regression (pool adjacent violators), falling."""
    blocks: list[list[float]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append([float(value), float(weight), 1.0])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            b, a = blocks.pop(), blocks.pop()
            total = a[1] + b[1]
            blocks.append([(a[0] * a[1] + b[0] * b[1]) / total, total, a[2] + b[2]])
    return np.concatenate([np.full(int(n), value) for value, _, n in blocks])


def _large(departure: Array, means: LevelMeans, reach: float) -> int | None:
    """The level whose departure is large and beyond its noise, or None."""
    at = int(np.argmax(np.abs(departure)))
    size = abs(float(departure[at]))
    if size < REFUSAL_SIZE or size < REFUSAL_SHARE * reach:
        return None
    if means.method is Method.RESIDUALS:
        return at
    # the noisiest level's error with the freedom of all: a level's own few values decide nothing,
    # and a pooled error would take the noise of an unsteady level for a break
    error = float(np.sqrt(means.variance.max()))
    cut = float(stats.t.isf(REFUSAL_P / 2 / len(departure), np.sum(means.count - 1)))
    return at if size > cut * error else None


def refusal(means: LevelMeans) -> str:
    """Why no single exponent describes the curve; empty when one may.

    Non-monotone: the departure from the nearest monotone curve is large (REFUSAL_SHARE of the
    whole log range, and 20 %) and beyond the noise. Broken: the same of the departure from the
    straight line, which a bend never reaches but a jump does.
    """
    values = means.log_mean
    reach = float(np.ptp(values))
    falling = values - _monotone(values, means.weights)
    rising = values + _monotone(-values, means.weights)
    nearest = falling if np.sum(falling**2) <= np.sum(rising**2) else rising
    at = _large(nearest, means, reach)
    if at is not None:
        return (
            f"the curve turns: it is not monotone near x = {means.x[at]:g}; "
            "fit the falling and the rising range on their own"
        )
    at = _large(means.residuals(1), means, reach)
    if at is not None:
        return (
            f"the curve is broken near x = {means.x[at]:g}: it jumps where a power law is straight "
            "in log-log; fit the ranges on either side on their own"
        )
    return ""
