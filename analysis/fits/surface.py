"""A sum of powers on cells, its Jacobian, and the search for its least squares; see `joint_fit`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.levels.intervals import Array

Terms = tuple[tuple[str, ...], ...]
SURFACE: Terms = (("samples",), ("width",))
BIAS_VARIANCE: Terms = (("time",), ("time", "samples"))
B_LIMIT = 10.0
"""|b| is sought up to here; an interval's end beyond it is infinite."""

SMALLEST = -18.0  # log amplitude of a term against the smallest cell mean
_HELD = 1e6  # weight of the held value of a profile, against residuals
_START = (0.3, 0.7, 1.5)


@dataclass(frozen=True)
class Surface:
    """The cells and the model: `slots` lists (term, axis) of each exponent in theta, after the
    amplitudes of the terms."""

    u: Mapping[str, Array]
    centre: Mapping[str, float]
    ell: Array
    weights: Array
    terms: Terms
    smallest: float

    @property
    def slots(self) -> list[tuple[int, str]]:
        return [(k, axis) for k, term in enumerate(self.terms) for axis in term]

    def logs(self, theta: Array, u: Mapping[str, Array]) -> tuple[Array, Array, list[Array]]:
        """log y [P], shares [P, K] and the u of each exponent's axis."""
        count = len(self.terms)
        size = len(next(iter(u.values())))
        parts = np.repeat(theta[None, :count], size, axis=0)
        for place, (k, axis) in enumerate(self.slots):
            parts[:, k] = parts[:, k] - theta[count + place] * u[axis]
        top = parts.max(axis=1, keepdims=True)
        each = np.exp(parts - top)
        total = each.sum(axis=1, keepdims=True)
        return (
            (top + np.log(total))[:, 0], each / total, [u[axis] for _k, axis in self.slots],
        )  # fmt: skip

    def jacobian(self, theta: Array) -> tuple[Array, Array, Array]:
        """log y [P], its Jacobian in theta [P, K + exponents], and the shares."""
        value, shares, axes = self.logs(theta, self.u)
        columns = [shares[:, k] for k in range(len(self.terms))]
        columns += [-shares[:, k] * v for (k, _a), v in zip(self.slots, axes, strict=True)]
        return value, np.column_stack(columns), shares

    def clipped(self, theta: Array) -> Array:
        count = len(self.terms)
        low = np.maximum(theta[:count], self.smallest)
        return np.concatenate([low, np.clip(theta[count:], -B_LIMIT, B_LIMIT)])


Solution = tuple[Array, float, bool]
Target = tuple[Array | None, float]
"""A linear form in theta held at a value; None: the best-stopping rate of BIAS_VARIANCE."""


def target_at(row: Array | None, theta: Array) -> tuple[float, Array]:
    """The held quantity at theta, and its gradient."""
    if row is not None:
        return float(row @ theta), row
    p, minus_q, r = theta[2], theta[3], theta[4]
    q = -minus_q
    total = p + q
    if abs(total) < 1e-9:
        return math.nan, np.zeros(len(theta))
    gradient = np.array([0.0, 0.0, r * q / total**2, r * p / total**2, p / total])
    return float(r * p / total), gradient


def polish(surface: Surface, theta: Array, held: Target | None = None) -> tuple[Array, float, bool]:
    """Levenberg-Marquardt from theta: (theta, RSS, whether it is stationary). Where a value is
    held, a heavy residual keeps the solution on it; it is not part of the RSS."""
    root = np.sqrt(surface.weights)

    def at(point: Array) -> tuple[Array, Array, float]:
        value, jacobian, _shares = surface.jacobian(point)
        left, rows = (surface.ell - value) * root, jacobian * root[:, None]
        if held is not None:
            now, gradient = target_at(held[0], point)
            left = np.append(left, _HELD * (held[1] - now))
            rows = np.vstack([rows, _HELD * gradient])
        return left, rows, float(left @ left)

    theta = surface.clipped(theta)
    left, rows, cost = at(theta)
    damping = 1e-3
    for _ in range(200):
        scale = np.maximum(np.sqrt(np.sum(rows**2, axis=0)), 1e-8)
        gradient = rows.T @ left
        step = np.zeros(len(theta))
        free = (surface.clipped(theta + 1e-7 * np.sign(gradient)) != theta) | (gradient == 0)
        system = np.vstack([rows[:, free], np.diag(math.sqrt(damping) * scale[free])])
        target = np.append(left, np.zeros(int(free.sum())))
        step[free] = np.linalg.lstsq(system, target, rcond=1e-15)[0]
        promised = float(step @ gradient)
        if promised <= 1e-14 * cost + 1e-28 * len(left):
            return theta, residual_sum(left, held), True
        trial = surface.clipped(theta + step)
        new_left, new_rows, new_cost = at(trial)
        if np.isfinite(new_cost) and new_cost < cost:
            theta, left, rows, cost = trial, new_left, new_rows, new_cost
            damping = max(damping / 5, 1e-15)
        else:
            damping *= 4
            if damping > 1e8:
                return theta, residual_sum(left, held), promised <= 1e-7 * cost + 1e-20
    return theta, residual_sum(left, held), False


def residual_sum(left: Array, held: Target | None) -> float:
    own = left if held is None else left[:-1]
    return float(own @ own)


def starts(surface: Surface) -> list[Array]:
    """The best of a grid over exponents and shares at the centre, best first."""
    count = len(surface.terms)
    choices: list[tuple[float, ...]] = []
    for k, axis in surface.slots:
        grows = surface.terms == BIAS_VARIANCE and (k, axis) == (1, "time")
        choices.append(tuple(-b for b in _START) if grows else _START)
    shares = [np.full(count, 1 / count)]
    shares += [np.where(np.arange(count) == k, 1 - 0.02 * (count - 1), 0.02) for k in range(count)]
    found = []
    for exponents in itertools.product(*choices):
        for share in shares if count > 1 else shares[:1]:
            theta = np.concatenate([np.log(share), exponents])
            value = surface.logs(theta, surface.u)[0]
            shift = float(surface.weights @ (surface.ell - value)) / float(surface.weights.sum())
            theta[:count] += shift
            rss = float(surface.weights @ (surface.ell - value - shift) ** 2)
            found.append((rss, theta))
    return [theta for residual_sum, theta in sorted(found, key=lambda pair: pair[0])]


def best(surface: Surface, starts: Sequence[Array], held: Target | None = None) -> Solution:
    tried = [polish(surface, theta, held) for theta in starts]
    good = [t for t in tried if t[2]] or tried
    return min(good, key=lambda t: t[1])
