"""The offset form y = A x^-b + c with A > 0, c >= 0, fitted to log level means.

With u = log x - mean(log x) the model is log y = a + log(exp(-b u) + r), r = c / A' >= 0. The
amplitude a is profiled out exactly (a weighted mean), so the fit is a search over (b, r):

- every start of a grid over b and r is tried at once, and the best are polished by Gauss-Newton
  with the analytic Jacobian in (a, b, r), halving steps and keeping r >= 0;
- the interval is the profile likelihood in b, with the cut scaled so that it is right for the
  noise that the seeds show (Rotnitzky and Jewell 1990): RSS(b) - RSS_min <= t^2 phi, phi the ratio
  of the sandwich variance of b to the model's. An end beyond `limit` is infinite: the data do not
  bound the exponent there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from analysis.levels.intervals import Array, Contrast, LevelMeans, student

B_LIMIT = 10.0
"""|b| is sought up to here, or further where x spans less than a factor of e: see `limit`."""

_STARTS = 41
"""Starts for r > 0 at each b: log-spaced from 1e-4 of the smallest signal to 1e4 of the largest."""


@dataclass(frozen=True)
class OffsetFit:
    """b, r and a of log y = a + log(exp(-b u) + r), the RSS there, and the gradients [3, L] of
    (a, b, r) in the log means. `converged` is False where no start reached a stationary point."""

    a: float
    b: float
    r: float
    rss: float
    gradients: Array
    curvature_b: float
    converged: bool


def limit(u: Array) -> float:
    """The steepest exponent sought: over the whole range of u = log x, x^-b falls by e^10 at least,
    and no further than floats reach."""
    reach = float(u[-1] - u[0])
    return min(max(B_LIMIT, B_LIMIT / reach), 600 / reach)


def _profile(b: Array, r: Array, u: Array, ell: Array, w: Array) -> tuple[Array, Array]:
    """RSS and a for broadcast b, r [...], with a profiled out."""
    shape = np.log(np.exp(-b[..., None] * u) + r[..., None])
    left = ell - shape
    a = left @ w / w.sum()
    return ((left - a[..., None]) ** 2) @ w, a


def _jacobian(b: float, r: float, u: Array) -> Array:
    """[L, 3]: derivatives of log y in (a, b, r)."""
    signal = np.exp(-b * u)
    total = signal + r
    return np.column_stack([np.ones_like(u), -u * signal / total, 1 / total])


def _scaled(rows: Array) -> tuple[Array, Array]:
    """Columns of length 1, and their lengths: r may be of any size."""
    size = np.linalg.norm(rows, axis=0)
    return rows / size, size


def _smallest_signal(b: Array, u: Array) -> Array:
    small: Array = np.exp(-np.maximum(b * u[0], b * u[-1]))
    return small


def _best_ratio(b: Array, u: Array, ell: Array, w: Array) -> tuple[Array, Array]:
    """For each b [B]: the r >= 0 of least RSS, and that RSS. A grid in log r, then two zooms."""
    small = _smallest_signal(b, u)
    tail = math.log(1e4)
    top = tail + np.abs(b) * (u[-1] - u[0])
    ratio = np.exp(np.linspace(np.full(len(b), -tail), top, _STARTS, axis=1))
    ratio = np.concatenate([np.zeros((len(b), 1)), ratio], axis=1)
    best_r, best = np.zeros(len(b)), np.full(len(b), np.inf)
    every = np.arange(len(b))
    for _ in range(5):
        r = ratio * small[:, None]
        rss, _a = _profile(np.broadcast_to(b[:, None], r.shape), r, u, ell, w)
        at = np.argmin(rss, axis=1)
        better = rss[every, at] < best
        best = np.where(better, rss[every, at], best)
        best_r = np.where(better, r[every, at], best_r)
        below = np.maximum(ratio[every, np.maximum(at - 1, 0)], 1e-8)
        above = np.maximum(ratio[every, np.minimum(at + 1, ratio.shape[1] - 1)], 2e-8)
        ratio = np.exp(np.linspace(np.log(below), np.log(above), 12, axis=1))
    return best_r, best


def _polish(b: float, r: float, u: Array, ell: Array, w: Array) -> tuple[float, float, float, bool]:
    """Gauss-Newton from (b, r) with step halving: (b, r, RSS, whether it is stationary)."""
    root, most = np.sqrt(w), limit(u)

    def rss_at(b: float, r: float) -> tuple[float, float]:
        value, a = _profile(np.array(b), np.array(r), u, ell, w)
        return float(value), float(a)

    rss, a = rss_at(b, r)
    for _ in range(200):
        jacobian = _jacobian(b, r, u)
        left = ell - a - np.log(np.exp(-b * u) + r)
        held = r == 0 and float((w * left) @ jacobian[:, 2]) <= 0
        at_limit = abs(b) == most and b * float((w * left) @ jacobian[:, 1]) >= 0
        columns = [0] + [1] * (not at_limit) + [2] * (not held)
        step = np.zeros(3)
        rows, size = _scaled(jacobian[:, columns] * root[:, None])
        step[columns] = np.linalg.lstsq(rows, left * root, rcond=1e-14)[0] / size
        gain = float(np.sum(w * left * (jacobian @ step)))  # first-order fall of RSS / 2
        if gain <= 1e-14 * rss + 1e-28 * len(u):
            return b, r, rss, True
        scale = 1.0
        while scale > 1e-10:
            trial_b = float(np.clip(b + scale * step[1], -most, most))
            trial_r = max(r + scale * step[2], 0.0)
            value, trial_a = rss_at(trial_b, trial_r)
            if value < rss:
                break
            scale /= 2
        else:  # no descent left: rounding, if the promised gain is negligible
            return b, r, rss, gain <= 1e-8 * rss + 1e-20
        b, r, rss, a = trial_b, trial_r, value, trial_a
    return b, r, rss, False


def fit(means: LevelMeans) -> OffsetFit:
    """Least squares of log level means over (a, b, r); levels weigh as in a plain fit."""
    u, ell, w = means.u - means.u.mean(), means.log_mean - means.log_mean.mean(), means.weights
    reach, most = u[-1] - u[0], limit(u)
    small = np.concatenate([np.linspace(0, 1, 21)[1:] * min(most, 2 / reach), [0.0]])
    grid = np.unique(np.concatenate([np.linspace(-most, most, 81), small, -small]))
    ratios, rss = _best_ratio(grid, u, ell, w)
    inner = np.pad(rss, 1, constant_values=np.inf)
    starts = np.flatnonzero((rss <= inner[:-2]) & (rss <= inner[2:]))
    starts = starts[np.argsort(rss[starts])][:6]
    tried = [_polish(float(grid[i]), float(ratios[i]), u, ell, w) for i in starts]
    good = [t for t in tried if t[3]] or tried
    b, r, best, converged = min(good, key=lambda t: t[2])
    _value, a = _profile(np.array(b), np.array(r), u, ell, w)
    jacobian = _jacobian(b, r, u)
    root = np.sqrt(w)
    rows, size = _scaled(jacobian * root[:, None])
    gradients = np.asarray(np.linalg.pinv(rows, rcond=1e-13) / size[:, None] * root, dtype=float)
    curvature_b = float(gradients[1] ** 2 @ (1 / w))
    return OffsetFit(
        float(a) + float(means.log_mean.mean()), b, r, best, gradients, curvature_b, converged
    )


def interval(means: LevelMeans, found: OffsetFit, level: float) -> tuple[float, float]:
    """Profile-likelihood interval of b at `level`; infinite ends where b is not bounded."""
    error = slope(means, found)
    if error.error <= 1e-9 * max(abs(found.b), 1e-3):
        return found.b, found.b
    phi = error.error**2 / found.curvature_b
    cut = found.rss + phi * student(level, error.freedom) ** 2
    u, ell, w = means.u - means.u.mean(), means.log_mean - means.log_mean.mean(), means.weights
    return (
        _crossing(found.b, -limit(u), cut, u, ell, w),
        _crossing(found.b, limit(u), cut, u, ell, w),
    )


def _crossing(b: float, limit: float, cut: float, u: Array, ell: Array, w: Array) -> float:
    """The outermost b between `b` and `limit` whose profiled RSS is within `cut`, refined."""
    inside, outside = b, limit
    grid = b + (limit - b) * np.linspace(0, 1, 65) ** 2
    for _ in range(4):
        _r, rss = _best_ratio(grid, u, ell, w)
        within = np.flatnonzero(rss <= cut)
        last = int(within[-1]) if len(within) else 0
        if last == len(grid) - 1:
            return float(np.copysign(np.inf, limit)) if grid[-1] == limit else float(grid[-1])
        inside, outside = float(grid[last]), float(grid[last + 1])
        grid = np.linspace(inside, outside, 17)
    return (inside + outside) / 2


def slope(means: LevelMeans, found: OffsetFit) -> Contrast:
    """b with its delta-method error: what scales the profile likelihood's cut."""
    contrast = means.contrast(found.gradients[1], estimate=found.b)
    if means.method.name != "RESIDUALS":
        return contrast
    freedom = max(len(means.x) - 3, 1)
    variance = found.rss / freedom * found.curvature_b
    return Contrast(found.b, float(np.sqrt(variance)), float(freedom))


def predict(found: OffsetFit, u: Array) -> tuple[Array, Array]:
    """log y at centred u [n], and its gradient [n, L] in the log level means."""
    value = found.a + np.log(np.exp(-found.b * u) + found.r)
    gradient: Array = _jacobian(found.b, found.r, u) @ found.gradients
    return value, gradient


def quadratic_row(found: OffsetFit, means: LevelMeans) -> Array | None:
    """[L] contrast of the residuals that gives the coefficient of u^2 in a linearised fit of the
    form and u^2 together; None where no level is left for it."""
    if len(means.x) < 5:
        return None
    u, root = means.u - means.u.mean(), np.sqrt(means.weights)
    jacobian = _jacobian(found.b, found.r, u)
    columns = jacobian[:, :2] if found.r == 0 else jacobian
    design = np.column_stack([columns, u**2]) * root[:, None]
    rows, size = _scaled(design)
    row: Array = (np.linalg.pinv(rows, rcond=1e-12) * root)[-1] / size[-1]
    return row
