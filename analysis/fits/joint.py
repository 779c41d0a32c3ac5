"""Joint fits of a surface: a sum of powers, log y = log sum_k exp(a_k - sum_j b_kj u_j) + noise.

| symbol | meaning                                                              | shape      |
|--------|----------------------------------------------------------------------|------------|
| u_j    | log of axis j (N, m, eta tau), less its mean over the cells           | [P]        |
| k      | a term: a power of the axes that it names; none: a floor             |            |
| a_k    | log amplitude of term k at the centre of the cells                   | [K]        |
| b_kj   | exponent of axis j in term k: positive falls                         |            |
| s_k    | share of term k in the fitted y, between 0 and 1                     | [P, K]     |

A **cell** is a combination of the axes, with one value of y per trial. The fit is least squares of
the jackknifed log cell means, each weighing by its trials: d log y / d a_k = s_k and
d log y / d b_kj = -s_k u_j, so Levenberg-Marquardt has its exact Jacobian; it starts from the best
of a grid. Two surfaces matter here:

    A N^-b + C m^-c                       b is the N-rate at infinite width        SURFACE
    B s^-p + V s^q N^-r, s = eta tau      the best s gives N^-(r p / (p + q))      BIAS_VARIANCE

The interval is the profile likelihood of the exponent (or of that rate), its cut scaled by the
noise that the seeds show, as in `offset_fit`. Seeds are taken in whole clusters: a training set at
several widths, or a trajectory at several times, is one of them; their errors are those of
`clusters`, whose levels are the cells here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.fits.power_law import NAN_PAIR, FitStatus
from analysis.fits.surface import (
    B_LIMIT,
    BIAS_VARIANCE,
    SMALLEST,
    SURFACE,
    Surface,
    Terms,
    best,
    starts,
    target_at,
)
from analysis.levels.clusters import Clusters
from analysis.levels.intervals import Array, Contrast, distinct, lone, student
from analysis.levels.log_means import jackknife
from analysis.text import counted

MINIMUM_LEVELS = 4
"""Values that each axis must take while the others stay fixed."""

UNSEEN = 1e-4
"""A term whose share is below this in every cell is not seen: the fit is made without it."""


@dataclass(frozen=True)
class JointFit:
    """status, message: as for `PowerLawFit`. rss, freedom: of the weighted log residuals.

    exponents: by (term, axis); NaN where a term is not seen. additivity: p-value of "the second
    term's size does not depend on the first one's axis", where the design can tell (None: not).
    """

    status: FitStatus
    message: str
    terms: Terms
    level: float
    cells: int
    trials: int
    exponents: Mapping[tuple[int, str], float] = field(default_factory=dict)
    intervals: Mapping[tuple[int, str], tuple[float, float]] = field(default_factory=dict)
    amplitudes: tuple[float, ...] = ()
    rate: float = math.nan
    rate_ci: tuple[float, float] = NAN_PAIR
    rss: float = math.nan
    additivity: float | None = None
    surface: Surface | None = field(default=None, repr=False, compare=False)
    theta: Array | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        return self.status is FitStatus.OK

    def predict(self, **axes: ArrayLike) -> Array:
        """The fitted y at axes [n] each."""
        if self.surface is None or self.theta is None:
            return np.full(len(np.atleast_1d(next(iter(axes.values())))), np.nan)
        u = {name: np.log(np.atleast_1d(np.asarray(v, dtype=float))) for name, v in axes.items()}
        moved = {name: u[name] - self.surface.centre[name] for name in self.surface.centre}
        return np.exp(self.surface.logs(self.theta, moved)[0])


def fit_joint(
    y: ArrayLike,
    axes: Mapping[str, ArrayLike],
    terms: Terms = SURFACE,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> JointFit:
    """Fit a sum of powers to one value y [n] per trial at `axes`, name -> [n], positive.

    cluster [n]: trials that share data (the same training set at several widths, the points of one
    trajectory); left out, all trials are independent. level: of the two-sided intervals.

    Where cells share data, those of a single cluster are left out: nothing shows how much of their
    noise they share with others. Refused, with the reason in `message`, where the cells do not
    determine the terms, or all of them are such.
    Raises ValueError for arrays of different lengths, a term with an axis that is not there, or a
    level outside (0, 1).
    """
    ys = np.asarray(y, dtype=float).ravel()
    given = {name: np.asarray(v, dtype=float).ravel() for name, v in axes.items()}
    missing = {axis for term in terms for axis in term} - set(given)
    if missing:
        raise ValueError(f"terms name axes that are not given: {', '.join(sorted(missing))}")
    if any(len(v) != len(ys) for v in given.values()):
        raise ValueError("axes need one value per y each")
    if not 0 < level < 1:
        raise ValueError(f"level = {level:g} must lie between 0 and 1, such as 0.95")
    merged = [levels[place] for levels, place in map(distinct, given.values())]
    values = np.column_stack(merged)
    reason = _refusal(ys, values, tuple(given), terms)
    if reason:
        cells = len(np.unique(values, axis=0)) if len(ys) else 0
        return JointFit(FitStatus.REFUSED, reason, terms, level, cells, len(ys))
    names = np.arange(len(ys)) if cluster is None else np.asarray(cluster).ravel()
    who = np.unique(names, return_inverse=True)[1]
    cells_at, where = np.unique(np.log(values), axis=0, return_inverse=True)
    # the scatter of others tells of such a cell's own noise, and nothing of what it shares
    single = lone(where, who)
    if single.all():
        told = "every point has one seed, of data that others share: add seeds"
        return JointFit(FitStatus.REFUSED, told, terms, level, len(cells_at), len(ys))
    if single.any():
        kept = {name: v[~single] for name, v in given.items()}
        rest = fit_joint(ys[~single], kept, terms, who[~single], level)
        told = f"{counted(int(single.sum()), 'point')} of one seed left out"
        return _with(rest, message="; ".join(filter(None, [rest.message, told])))
    _mean, log_mean, share = jackknife(where, ys)
    count = np.bincount(where)
    noise = Clusters.of(who, where, share)
    centre = {name: float(cells_at[:, j].mean()) for j, name in enumerate(given)}
    surface = Surface(
        u={name: cells_at[:, j] - centre[name] for j, name in enumerate(given)},
        centre=centre,
        ell=log_mean - log_mean.mean(),
        weights=count / count.mean(),
        terms=terms,
        smallest=float((log_mean - log_mean.mean()).min()) + SMALLEST,
    )
    return _fitted(surface, noise, float(log_mean.mean()), len(ys), level)


def _refusal(y: Array, values: Array, names: tuple[str, ...], terms: Terms) -> str:
    for name, column in (("y", y), *zip(names, values.T, strict=True)):
        if not (np.isfinite(column) & (column > 0)).all():
            return f"values of {name} are not all finite and positive: leave those trials out"
    cells = np.unique(values, axis=0)
    for name in dict.fromkeys(axis for term in terms for axis in term):
        j = names.index(name)
        rest = np.delete(cells, j, axis=1)
        most = int(np.unique(rest, axis=0, return_counts=True)[1].max()) if len(cells) else 0
        if most < MINIMUM_LEVELS:
            return (
                f"{name} takes {most} values while the other axes stay fixed, and its exponent "
                f"needs {MINIMUM_LEVELS}: add a sweep over {name} alone"
            )
    free = len(terms) + sum(len(term) for term in terms)
    if len(cells) <= free:
        return f"{len(cells)} points, and the surface has {free} parameters: add points"
    return ""


def _is_cross(surface: Surface) -> bool:
    """Whether no two values of one axis meet the same two values of another."""
    table = np.column_stack([surface.u[axis] for axis in surface.u])
    have = {tuple(row) for row in np.round(table, 9)}
    for one, two in itertools.combinations(sorted(have), 2):
        if all(a != b for a, b in zip(one, two, strict=True)):
            mixed = [(one[0], *two[1:]), (two[0], *one[1:])]
            if all(m in have for m in mixed):
                return False
    return True


def _fitted(surface: Surface, noise: Clusters, shift: float, trials: int, level: float) -> JointFit:
    begin = starts(surface)
    theta, rss, converged = best(surface, begin[:6])
    empty = JointFit(FitStatus.FAILED, "", surface.terms, level, len(surface.ell), trials)
    if not converged:
        told = "the search for the surface did not converge: fit the axes on their own"
        return _with(empty, message=told)
    _value, jacobian, shares = surface.jacobian(theta)
    seen = shares.max(axis=0) >= UNSEEN
    count = len(surface.terms)
    keep = np.concatenate([seen, [seen[k] for k, _axis in surface.slots]])
    root = np.sqrt(surface.weights)
    scaled = jacobian[:, keep] * root[:, None]
    sizes = np.linalg.norm(scaled, axis=0)
    if np.linalg.cond(scaled / sizes) > 1e7:
        told = "the points do not tell the terms apart: vary one axis at several values of another"
        return _with(empty, status=FitStatus.REFUSED, message=told)
    gradients = np.zeros((len(theta), len(surface.ell)))
    gradients[keep] = np.linalg.pinv(scaled, rcond=1e-12) * root
    exponents, intervals = {}, {}
    solution = (theta, rss)
    for place, slot in enumerate(surface.slots):
        row = np.zeros(len(theta))
        row[count + place] = 1.0
        exponents[slot], intervals[slot] = math.nan, NAN_PAIR
        if seen[slot[0]]:
            exponents[slot] = float(theta[count + place])
            intervals[slot] = _interval(surface, noise, solution, gradients, row, level, begin)
    notes = [
        f"no {' '.join(term) or 'floor'} term is seen: the fit is made without it"
        for term, there in zip(surface.terms, seen, strict=True)
        if not there
    ]
    rate, rate_ci = math.nan, NAN_PAIR
    if surface.terms == BIAS_VARIANCE and seen.all():
        rate = target_at(None, theta)[0]
        rate_ci = _interval(surface, noise, solution, gradients, None, level, begin)
    crossed = _is_cross(surface)
    if surface.terms == SURFACE and crossed:
        notes.append("N and m are varied one at a time: that their terms add up is assumed")
    return JointFit(
        FitStatus.OK,
        "; ".join(notes),
        surface.terms,
        level,
        len(surface.ell),
        trials,
        exponents,
        intervals,
        tuple(np.exp(_amplitudes(surface, theta) + shift).tolist()),
        rate,
        rate_ci,
        rss,
        None if crossed or not seen.all() else _additivity(surface, noise, theta, rss),
        replace(surface, ell=surface.ell + shift),
        np.concatenate([theta[:count] + shift, theta[count:]]),
    )


def _with(fit: JointFit, **changes: Any) -> JointFit:
    return replace(fit, **changes)


def _amplitudes(surface: Surface, theta: Array) -> Array:
    """Log amplitudes at axes of 1."""
    logs = theta[: len(surface.terms)].copy()
    for place, (k, axis) in enumerate(surface.slots):
        logs[k] += theta[len(surface.terms) + place] * surface.centre[axis]
    return logs


def _contrast(surface: Surface, noise: Clusters, c: Array, estimate: float, rss: float) -> Contrast:
    if noise.known:
        variance, freedom = noise.error(c)
        return Contrast(estimate, math.sqrt(variance), freedom)
    free = len(surface.terms) + len(surface.slots)
    spare = max(len(surface.ell) - free, 1)
    return Contrast(estimate, math.sqrt(rss / spare * float(c**2 @ (1 / surface.weights))), spare)


def _additivity(surface: Surface, noise: Clusters, theta: Array, rss: float) -> float | None:
    """Score test of the second term's amplitude changing as a power of the first term's axis."""
    if surface.terms != SURFACE:
        return None
    value, jacobian, shares = surface.jacobian(theta)
    root = np.sqrt(surface.weights)
    design = np.column_stack([jacobian, shares[:, 1] * surface.u["samples"]]) * root[:, None]
    row = np.asarray(np.linalg.pinv(design, rcond=1e-10) * root)[-1]
    left = surface.ell - value
    bend = float(row @ left)
    if abs(bend) < 1e-6:  # rounding of exact data
        return 1.0
    return _contrast(surface, noise, row, bend, rss).p_value


def _interval(
    surface: Surface,
    noise: Clusters,
    solution: tuple[Array, float],
    gradients: Array,
    row: Array | None,
    level: float,
    begin: Sequence[Array],
) -> tuple[float, float]:
    """Profile-likelihood interval of a held quantity; infinite ends where it is not bounded."""
    theta, rss = solution
    estimate, gradient = target_at(row, theta)
    c = gradient @ gradients
    error = _contrast(surface, noise, c, estimate, rss)
    if error.error <= 1e-8 * max(abs(estimate), 1e-3):
        return estimate, estimate
    model = float(c**2 @ (1 / surface.weights))
    cut = rss + error.error**2 / model * student(level, error.freedom) ** 2

    goal = math.sqrt(cut - rss)

    def end(sign: float) -> float:
        inside, near, width, low = estimate, theta, error.error, 0.0
        while True:
            outside = inside + sign * width
            if abs(outside) > B_LIMIT:
                return sign * math.inf
            found, value, _ok = best(surface, [near, *begin[:2]], (row, outside))
            high = math.sqrt(max(value - rss, 0.0))
            if high > goal:
                break
            inside, near, low, width = outside, found, high, 1.6 * width
        for turn in range(40):  # sqrt(RSS - RSS_min) is nearly straight: false position, halved
            part = 0.5 if turn % 3 == 2 else (goal - low) / (high - low)
            middle = inside + (outside - inside) * min(max(part, 0.02), 0.98)
            found, value, _ok = best(surface, [near], (row, middle))
            here = math.sqrt(max(value - rss, 0.0))
            if here > goal:
                outside, high = middle, here
            else:
                inside, near, low = middle, found, here
            if abs(outside - inside) < 1e-3 * error.error or abs(here - goal) < 1e-3 * goal:
                break
        return middle

    return end(-1.0), end(1.0)
