"""Power laws y = A x^-b (+ c) with intervals that hold, or a reason why there is none.

One value of y per trial; several trials at a level x. The exponent b is minus the slope of the
logs of the level means. Levels weigh equally, whatever their numbers of trials (where one holds a
single value, by those numbers: `LevelMeans.weights`). Which interval is used follows from the
design of the data alone (`intervals.summarise`), never from the values: choosing a form or an
interval by the values and then using it as if given is what makes intervals lie.

Example:
    >>> fit = fit_power_law([64, 64, 256, 256, 1024, 1024], [1.0, 1.1, 0.5, 0.54, 0.26, 0.25])
    >>> fit.status, round(fit.exponent, 2)
    (<FitStatus.OK: 'ok'>, 0.51)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fits import asymptotic as at_large
from analysis.fits import diagnostics
from analysis.fits import offset as offset_fit
from analysis.fits.diagnostics import Curvature, Holdout, LocalSlope, Peak, Spread
from analysis.fits.growth import OFFSET, POWER, Continuation, Growth
from analysis.levels.intervals import (
    Array,
    Contrast,
    LevelMeans,
    Method,
    alone,
    distinct,
    summarise,
)
from analysis.levels.test_set import TestSet
from analysis.levels.two_levels import Control, Sharpened

MINIMUM_LEVELS = 3
MINIMUM_LEVELS_OFFSET = 4
NAN_PAIR = (math.nan, math.nan)


class FitStatus(StrEnum):
    """`ok`: exponent and interval stand. `refused`: the data cannot give one, `message` says why.
    `failed`: the search did not converge; exponent is NaN."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class PowerLawFit:
    """A fit of y = (amplitude x^-exponent + offset) g(x), g the factor of `growth`, 1 unless
    asked for. Where status is not ok, the numbers are NaN.

    levels: the distinct x. trials: values used. seeds: values per level (the fewest), or distinct
    seeds where they link the levels. residuals: log level mean less the fit, one per level.
    log_bias: shift of the exponent, taken out, that E[log mean] < log E[mean] would have given.
    end_slope, forecast_slope: exponent by a quadratic in log-log at the largest x, and one whole
    log range further: where the curve is heading. misfit: how the curve bends about the offset
    form, in place of `curvature`. test_set: the test set's part of the interval, where it is known.
    two_levels: what trials at infinite width did for the interval, None where there are none.
    continuation: how the curve goes on beyond its range, where that is known from elsewhere.
    log_amplitude: natural; the amplitude itself is 0 or infinite where floats do not hold it.
    """

    status: FitStatus
    message: str
    exponent: float
    ci: tuple[float, float]
    log_amplitude: float
    offset: float
    level: float
    method: Method
    seeds: int
    trials: int
    levels: tuple[float, ...]
    range_decades: float
    local_slopes: tuple[LocalSlope, ...] = ()
    end_slope: LocalSlope | None = None
    forecast_slope: LocalSlope | None = None
    curvature: Curvature | None = None
    holdout: Holdout | None = None
    spread: Spread | None = None
    misfit: Curvature | None = None
    log_bias: float = math.nan
    growth: Growth = POWER
    residuals: tuple[float, ...] = ()
    means: LevelMeans | None = field(default=None, repr=False, compare=False)
    test_set: TestSet | None = None
    two_levels: Sharpened | None = None
    offset_fit: offset_fit.OffsetFit | None = field(default=None, repr=False, compare=False)
    continuation: Continuation | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        if not self.ok:
            return f"PowerLawFit({self.status}: {self.message})"
        b = f"b = {self.exponent:.4g} [{self.ci[0]:.4g}, {self.ci[1]:.4g}]"
        return f"PowerLawFit({self.growth.form}, {b}, {self.points} points, {self.trials} trials)"

    @property
    def ok(self) -> bool:
        return self.status is FitStatus.OK

    @property
    def amplitude(self) -> float:
        with np.errstate(over="ignore", under="ignore"):
            return float(np.exp(self.log_amplitude))

    @property
    def points(self) -> int:
        """Number of distinct x: a point is the trials that differ in seed only."""
        return len(self.levels)

    def interval(self, level: float) -> tuple[float, float]:
        """The exponent's interval at another confidence level; NaN where the fit is not ok."""
        if not self.ok or self.means is None:
            return NAN_PAIR
        if self.offset_fit is not None:
            return offset_fit.interval(self.means, self.offset_fit, level)
        return self.means.contrast(-self.means.polynomial(1)[1]).interval(level)

    @cached_property
    def asymptotic(self) -> at_large.Asymptotic | None:
        """The exponent at large x, where the curve may still bend; None where the data are too few
        to show a bend, or bend as no correction does, and for a form with an offset or one that
        asks nothing of large x."""
        return None if self._likely is None else self._likely.limits(self.level)

    def interval_at_large(self, level: float) -> tuple[float, float]:
        """The interval of `asymptotic` at another level, or the plain one where there is none."""
        if self._likely is None:
            return self.interval(level)
        seen = self._likely.limits(level)
        return seen.low, seen.high

    @cached_property
    def _likely(self) -> at_large.Likely | None:
        if not self.ok or self.means is None or self.offset_fit is not None or self.growth.within:
            return None
        return at_large.likely(self.means, self.continuation)

    def spread_at(self, level: float) -> Spread | None:
        """`spread` with its interval at another confidence level."""
        return None if self.means is None else diagnostics.spread(self.means, level)

    def peak_at(self, level: float) -> Peak | None:
        """The largest level mean, with its interval at a confidence level; None without means."""
        return None if self.means is None else diagnostics.peak(self.means, level)

    def predict(self, x: ArrayLike) -> tuple[Array, Array, Array]:
        """The fitted curve at x [n] and a pointwise band for it at `level`: y, low, high [n].
        The band is the fit's, not that of a new trial."""
        u = np.log(np.atleast_1d(np.asarray(x, dtype=float)))
        if not self.ok or self.means is None:
            return (np.full(len(u), np.nan),) * 3
        centred = u - self.means.u.mean()
        if self.offset_fit is not None:
            value, rows = offset_fit.predict(self.offset_fit, centred)
        else:
            rows = np.vander(centred, 2, increasing=True) @ self.means.polynomial(1)
            value = rows @ self.means.log_mean
        ends = [
            self.means.contrast(row, estimate=float(v)).interval(self.level)
            for row, v in zip(rows, value, strict=True)
        ]
        low, high = np.array(ends).T
        with np.errstate(over="ignore", under="ignore"):
            factor = self.growth.of(np.exp(u))
            return factor * np.exp(value), factor * np.exp(low), factor * np.exp(high)


def fit_power_law(
    x: ArrayLike,
    y: ArrayLike,
    seed: ArrayLike | None = None,
    offset: bool = False,
    level: float = 0.95,
    growth: Growth | None = None,
    without: ArrayLike | None = None,
    control: Control | None = None,
    geometric: bool = False,
) -> PowerLawFit:
    """Fit y = A x^-b, or y = A x^-b + c with c >= 0 where `offset`, to one value per trial; or
    another law of growth, which says for itself whether it has an offset.

    x, y: [n], positive and finite. seed [n]: give it where the same seed at different x shares
    effects (the same data, the same initialisation); the interval then is over seeds, and asks for
    two of them at each x: x with one are left out, and where all have one there is no fit. Leave it
    out where trials at different x are independent: their noise is then pooled over levels, which
    is narrower. level: of the two-sided interval. without [n, K]: where all trials share test
    points, y as it is without each of K groups of them; their own error is then in the interval.
    control: cheap trials that share seeds with these, see `two_levels`; not used where seed links
    levels.
    geometric: of the geometric means of levels, for values that are very skewed over seeds.

    Data that cannot give an exponent are no error: status and message say what is wrong and what
    would help. Raises ValueError for arrays of different lengths, or a level outside (0, 1).
    """
    xs, ys = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    names = None if seed is None else np.asarray(seed).ravel()
    if len(xs) != len(ys) or (names is not None and len(names) != len(xs)):
        raise ValueError("x, y and seed need the same length: one value per trial")
    left = None if without is None else np.asarray(without, dtype=float)
    if left is not None and (left.ndim != 2 or len(left) != len(ys) or left.shape[1] < 2):
        raise ValueError("without needs a row for each value of y, and two columns or more")
    if not 0 < level < 1:
        raise ValueError(f"level = {level:g} must lie between 0 and 1, such as 0.95")
    growth = growth or (OFFSET if offset else POWER)
    reason, note = _invalid(xs, ys) or _too_few(xs, growth.offset), ""
    if names is not None and not reason:
        lone = alone(xs, names)
        reason, note = _lone(xs, lone, growth.offset)
        if note:
            xs, ys, names = xs[~lone], ys[~lone], names[~lone]
            left = None if left is None else left[~lone]
            control = None if control is None else control.of(~lone)
    factor = np.ones(len(xs)) if reason else growth.of(xs)
    if not (np.isfinite(factor) & (factor > 0)).all():
        wrong = xs[~(np.isfinite(factor) & (factor > 0))]
        reason = f"{growth.form} is not positive at x = {wrong[0]:g}: leave such x out"
    if reason:
        return replace(_without_exponent(FitStatus.REFUSED, reason, xs, level), growth=growth)
    if left is not None:
        left = left / factor[:, None] if (np.isfinite(left) & (left > 0)).all() else None
    fit = _fitted(xs, ys / factor, names, growth.offset, level, left, control, geometric)
    told = (fit.message, _rounding(xs, fit) if fit.ok else "", note)
    fit = replace(fit, message="; ".join(filter(None, told)))
    if fit.holdout is not None:
        last = float(growth.of(np.array([fit.holdout.x]))[0])
        holdout = replace(
            fit.holdout,
            predicted=last * fit.holdout.predicted,
            observed=last * fit.holdout.observed,
        )
        fit = replace(fit, holdout=holdout)
    return replace(fit, growth=growth)


def _fitted(
    xs: Array,
    ys: Array,
    names: NDArray[Any] | None,
    offset: bool,
    level: float,
    without: Array | None,
    control: Control | None,
    geometric: bool,
) -> PowerLawFit:
    who = None if names is None else np.unique(names, return_inverse=True)[1]
    means = summarise(xs, ys, who, without, control, geometric)
    reason = diagnostics.refusal(means)
    if reason:
        return _without_exponent(FitStatus.REFUSED, reason, xs, level, means)
    return _offset(means, len(xs), level) if offset else _plain(means, len(xs), level)


def _invalid(x: Array, y: Array) -> str:
    for name, values in (("x", x), ("y", y)):
        unfit = ~(np.isfinite(values) & (values > 0))
        if unfit.any():
            which = (
                "NaN or infinite" if not np.isfinite(values[unfit]).all() else "zero or negative"
            )
            is_are = "is" if unfit.sum() == 1 else "are"
            return (
                f"{int(unfit.sum())} of {len(values)} values of {name} {is_are} {which}; "
                "logarithms need finite positive values: leave those trials out knowingly, or "
                "find their cause"
            )
    return ""


def _too_few(x: Array, offset: bool) -> str:
    needed = MINIMUM_LEVELS_OFFSET if offset else MINIMUM_LEVELS
    have = len(distinct(x)[0])
    if have >= needed:
        return ""
    form = "A x^-b + c" if offset else "A x^-b"
    return f"{have} distinct x, and {form} needs at least {needed}: add values to the axis"


def _lone(x: Array, lone: NDArray[np.bool_], offset: bool) -> tuple[str, str]:
    """Of x [n], of which those `lone` [n] have one seed though seeds link x: why there is no fit,
    or a note on the x that are left out; both empty where none is."""
    if not lone.any():
        return "", ""
    if lone.all():
        return (
            "every x has one seed, and seeds link them: the scatter about the line does not show "
            "what another seed would change; add seeds, 2 at each x at least",
            "",
        )
    at = [f"{v:g}" for v in distinct(x[lone])[0]]
    many = f"{', '.join(at[:3])} and {len(at) - 3} more" if len(at) > 4 else ", ".join(at)
    note = f"x = {many} left out: one seed there, and seeds link x; 2 at least are needed"
    few = _too_few(x[~lone], offset)
    return (f"{few}; {note}", "") if few else ("", note)


def _rounding(x: Array, fit: PowerLawFit) -> str:
    """The note on x that were taken for one level."""
    given = np.unique(x)
    if len(given) == fit.points:
        return ""
    one = given[np.flatnonzero(np.diff(distinct(given)[1]) == 0)[0] :][:2]
    such = " and ".join(repr(float(v)) for v in one)
    return f"x that differ by rounding alone are one level, such as {such}"


def _range(x: Array) -> float:
    good = x[np.isfinite(x) & (x > 0)]
    return float(np.log10(good.max()) - np.log10(good.min())) if len(good) else 0.0


def _without_exponent(
    status: FitStatus, message: str, x: Array, level: float, means: LevelMeans | None = None
) -> PowerLawFit:
    return PowerLawFit(
        status=status,
        message=message,
        exponent=math.nan,
        ci=NAN_PAIR,
        log_amplitude=math.nan,
        offset=math.nan,
        level=level,
        method=Method.RESIDUALS if means is None else means.method,
        seeds=0 if means is None else means.seeds,
        trials=len(x),
        levels=tuple(distinct(x[np.isfinite(x)])[0].tolist()),
        range_decades=_range(x),
        local_slopes=() if means is None else diagnostics.local_slopes(means),
        spread=None if means is None else diagnostics.spread(means, level),
        means=means,
    )


def _note(means: LevelMeans, bias: float, error: float) -> str:
    notes = []
    if means.method is Method.RESIDUALS:
        why = (
            "one value at some level" if means.count.min() == 1 else "values repeat at most levels"
        )
        notes.append(f"{why}: the interval rests on the scatter about the line")
    if means.method is Method.SEEDS and means.seeds < 3:
        notes.append(f"only {means.seeds} seeds link the levels: add seeds for a useful interval")
    if abs(bias) > error / 2 > 0:
        notes.append("noise differs much between levels, which shifts the exponent: add seeds")
    return "; ".join(notes)


def _plain(means: LevelMeans, trials: int, level: float) -> PowerLawFit:
    rows = means.polynomial(1)
    b = means.contrast(-rows[1])
    bias = diagnostics.log_bias(means)
    return PowerLawFit(
        status=FitStatus.OK,
        message=_note(means, bias, b.error),
        exponent=b.estimate,
        ci=b.interval(level),
        log_amplitude=float(rows[0] @ means.log_mean) + b.estimate * float(means.u.mean()),
        offset=0.0,
        level=level,
        method=means.method,
        seeds=means.seeds,
        trials=trials,
        levels=tuple(means.x.tolist()),
        range_decades=_range(means.x),
        local_slopes=diagnostics.local_slopes(means),
        end_slope=diagnostics.slope_at(means, 0.0),
        forecast_slope=diagnostics.slope_at(means, 1.0),
        curvature=diagnostics.curvature(means),
        holdout=diagnostics.holdout(means),
        spread=diagnostics.spread(means, level),
        log_bias=bias,
        residuals=tuple(means.residuals(1).tolist()),
        means=means,
        test_set=means.test_set(-rows[1], b),
        two_levels=_sharpened(means, -rows[1], level),
    )


def _sharpened(means: LevelMeans, c: Array, level: float) -> Sharpened | None:
    """What the kernel's trials did for a contrast c [L]; None where there are none."""
    if means.both is None or means.alone is None:
        return None
    wide, short = (np.ptp(m.contrast(c).interval(level)) for m in (means.alone, means))
    return means.both.sharpened(float(wide / short) if short > 0 else math.inf)


def _offset(means: LevelMeans, trials: int, level: float) -> PowerLawFit:
    found = offset_fit.fit(means)
    if not found.converged:
        return _without_exponent(
            FitStatus.FAILED,
            "the search for A x^-b + c did not converge: use the form without offset, or more "
            "levels, so that the bend of the curve is seen",
            np.repeat(means.x, means.count),
            level,
            means,
        )
    limit = offset_fit.limit(means.u)
    if abs(found.b) == limit:
        return _without_exponent(
            FitStatus.REFUSED,
            f"the best exponent of A x^-b + c lies beyond {limit:.3g}: the curve is at its floor "
            "from the second level on; add levels where it still falls, or fit A x^-b alone",
            np.repeat(means.x, means.count),
            level,
            means,
        )
    ci = offset_fit.interval(means, found, level)
    value, _rows = offset_fit.predict(found, means.u - means.u.mean())
    notes = []
    if not np.isfinite(ci).all():
        notes.append("the data do not bound the exponent on both sides: extend the range")
    if found.r == 0:
        notes.append("no offset is seen: c = 0 is the best fit")
    return PowerLawFit(
        status=FitStatus.OK,
        message="; ".join(notes),
        exponent=found.b,
        ci=ci,
        log_amplitude=found.a + found.b * float(means.u.mean()),
        offset=0.0 if found.r == 0 else math.exp(found.a + math.log(found.r)),
        level=level,
        method=Method.PROFILE,
        seeds=means.seeds,
        trials=trials,
        levels=tuple(means.x.tolist()),
        range_decades=_range(means.x),
        local_slopes=diagnostics.local_slopes(means),
        spread=diagnostics.spread(means, level),
        misfit=_misfit(means, found, means.log_mean - value),
        log_bias=diagnostics.log_bias(means),
        residuals=tuple((means.log_mean - value).tolist()),
        means=means,
        test_set=means.test_set(
            found.gradients[1], means.contrast(found.gradients[1], estimate=found.b)
        ),
        two_levels=_sharpened(means, found.gradients[1], level),
        offset_fit=found,
    )


def _misfit(means: LevelMeans, found: offset_fit.OffsetFit, left: Array) -> Curvature | None:
    """Score test of a quadratic about the offset form; None with fewer than 5 levels."""
    row = offset_fit.quadratic_row(found, means)
    if row is None:
        return None
    bend = float(row @ left)
    if means.method is Method.RESIDUALS:
        spare = max(len(means.x) - 4, 1)
        size = float(row**2 @ (1 / means.weights))
        rest = max(float(means.weights @ left**2) - bend**2 / size, 0.0)
        test = Contrast(bend, math.sqrt(rest / spare * size), float(spare))
    else:
        test = means.contrast(row, estimate=bend)
    drift = -2 * float(means.u[-1] - means.u[0]) * test.estimate
    scale = 2 * float(means.u[-1] - means.u[0])
    if abs(drift) < 1e-6:  # rounding of exact data
        return Curvature(drift, scale * test.error, 0.0, 1.0)
    return Curvature(drift, scale * test.error, -test.statistic, test.p_value)
