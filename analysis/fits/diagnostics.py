"""Is the curve a power law at all? Local slopes, curvature, forecast of the last level, refusals.

All are contrasts of log level means (see `intervals`), so they carry the same honest errors as
the exponent itself. Exponents are b in y ~ x^-b: minus the slope in log-log.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.optimize import isotonic_regression

from analysis.levels.intervals import Array, Contrast, LevelMeans, Method

REFUSAL_P = 1e-3
"""Significance, after Bonferroni over levels, below which a break in the curve is believed."""

REFUSAL_SHARE = 0.25
"""A break matters when it is at least this share of the curve's whole log range ..."""

REFUSAL_SIZE = math.log(1.2)
"""... and at least this large: wiggles below 20 % never refuse a curve."""

CHANCE = 0.005
"""Of noise alone, with one value a level, that reaches a departure which is believed ..."""

DRAWS = 2000
"""... in so many simulated curves."""


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


@dataclass(frozen=True)
class Peak:
    """The largest level mean, with a simultaneous (Bonferroni) interval: what "is nowhere above"
    is judged by."""

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
    with np.errstate(over="ignore", under="ignore"):
        x = float(np.exp(at))
    return LocalSlope(x, x, fit.estimate, fit.error, fit.freedom)


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
    """Forecast of the last level from the others; None with fewer than 4 levels. With one value a
    level the error is the scatter of the others: the last one's departure would be part of a
    scatter about all levels, so that none could be many times that."""
    if len(means.x) < 4:
        return None
    others = slice(0, -1)
    rows = means.polynomial(1, others)
    forecast = rows[0] + (means.u[-1] - means.u.mean()) * rows[1]
    difference = -forecast
    difference[-1] += 1.0
    gap = means.contrast(difference, levels=others)
    with np.errstate(over="ignore", under="ignore"):
        predicted = float(np.exp(forecast @ means.log_mean))
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


def peak(means: LevelMeans, level: float) -> Peak:
    """The largest level mean and of the largest of all what each of them is at least and at most,
    simultaneously over levels. With one value a level, errors are the scatter about a power law."""
    each = [means.contrast(row) for row in np.eye(len(means.x))]
    share = 1 - (1 - level) / len(each)
    low, high = np.max([c.interval(share) for c in each], axis=0)
    middle = max(c.estimate for c in each)
    with np.errstate(over="ignore", under="ignore"):
        return Peak(*(float(v) for v in np.exp([middle, low, high])))


def log_bias(means: LevelMeans) -> float:
    """Shift of the exponent that the jackknife took out, because E[log mean] is below
    log E[mean]. Near zero when the relative noise is the same at all levels."""
    return float(-means.polynomial(1)[1] @ (np.log(means.mean) - means.log_mean))


def _nearest_monotone(values: Array, weights: Array) -> Array:
    """[L] departure from the nearest falling or rising curve, whichever is nearer."""
    each = [
        values - isotonic_regression(values, weights=weights, increasing=rising).x
        for rising in (False, True)
    ]
    return np.asarray(min(each, key=lambda left: float(left @ left)), dtype=np.float64)


def _turn(values: Array, departure: Array) -> int:
    """The level where a curve [L] that is not monotone turns: of its maxima and minima, the one
    that stands out most from the monotone curve. An end of the curve may be further from that, and
    is no turn."""
    starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)  # equal neighbours are one
    way = np.sign(np.diff(values[starts]))
    turns = way[:-1] != way[1:]
    out = np.where(turns, way[:-1] * departure[starts[1:-1]], -np.inf)
    return int(starts[1:-1][np.argmax(out)])


def _scatter(values: Array, u: Array, weights: Array) -> Array:
    """[...] noise of single values [..., L] about a smooth curve, up to a factor: the lower median
    of how far a level is from the line through its neighbours (Gasser, Sroka and Jennen-Steinmetz,
    Biometrika 73 (1986) 625), which neither a slope nor one turn or jump moves."""
    near = (u[2:] - u[1:-1]) / (u[2:] - u[:-2])
    left = near * values[..., :-2] + (1 - near) * values[..., 2:] - values[..., 1:-1]
    size = near**2 / weights[:-2] + (1 - near) ** 2 / weights[2:] + 1 / weights[1:-1]
    middle = (left.shape[-1] - 1) // 2
    return np.asarray(np.partition(np.abs(left) / np.sqrt(size), middle, axis=-1)[..., middle])


def _by_chance(size: float, of: Callable[[Array], Array], means: LevelMeans) -> bool:
    """Whether the largest of the departures `of` noise alone is at least `size` times its scatter
    in CHANCE of draws or more: a level curve with one value at a level, at the curve's own x."""
    u, weights = means.u, means.weights
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(u))) / np.sqrt(weights)
    cuts = size * _scatter(draws, u, weights)
    most, seen = int(CHANCE * DRAWS), 0
    for draw, cut in zip(draws, cuts, strict=True):
        seen += float(np.abs(of(draw)).max()) >= cut
        if seen >= most:
            return True
    return False


def _large(of: Callable[[Array], Array], means: LevelMeans) -> int | None:
    """The level whose departure is large and beyond its noise, or None; `of` gives the departures
    [L] of a curve [L]."""
    departure = of(means.log_mean)
    at = int(np.argmax(np.abs(departure)))
    size = abs(float(departure[at]))
    if size < REFUSAL_SIZE or size < REFUSAL_SHARE * float(np.ptp(means.log_mean)):
        return None
    if means.method is Method.RESIDUALS:
        noise = float(_scatter(means.log_mean, means.u, means.weights))
        return None if _by_chance(size / max(noise, 1e-12), of, means) else at
    # the noisiest level's error with the freedom of all: a level's own few values decide nothing,
    # and a pooled error would take the noise of an unsteady level for a break
    error = float(np.sqrt(means.variance.max()))
    cut = -float(special.stdtrit(np.sum(means.count - 1), REFUSAL_P / 2 / len(departure)))
    return at if size > cut * error else None


def refusal(means: LevelMeans) -> str:
    """Why no single exponent describes the curve; empty when one may.

    Non-monotone: the departure from the nearest monotone curve is large (REFUSAL_SHARE of the
    whole log range, and 20 %) and beyond the noise. Broken: the same of the departure from the
    straight line, which a bend never reaches but a jump does. The noise is that of the level means;
    with one value at some level, the scatter between neighbours, and both together refuse at most
    2 CHANCE = 1 % of level curves, and fewer of those that fall.
    """
    at = _large(lambda values: _nearest_monotone(values, means.weights), means)
    if at is not None:
        at = _turn(means.log_mean, _nearest_monotone(means.log_mean, means.weights))
        return (
            f"the curve turns: it is not monotone near x = {means.x[at]:g}; "
            "fit the falling and the rising range on their own"
        )
    at = _large(lambda values: means.left(values, 1), means)
    if at is not None:
        return (
            f"the curve is broken near x = {means.x[at]:g}: it jumps where a power law is straight "
            "in log-log; fit the ranges on either side on their own"
        )
    return ""
