"""The exponent at large x of a curve that may still bend there, with an interval that says so.

A straight line in log-log says how a curve fell over the range that was measured; theory speaks of
large x. The model is y = A x^-b (1 + k x^-q): a power law with a correction that dies out. With
u = log x - log x_min and R the length of the range in u,

    log y = a - b u + s(u),   s(u) = log(1 + (e^g - 1) e^(-q u)),

so g is the correction at the smallest x: |g| <= LARGEST, and it halves over the range at least,
q R >= SLOWEST. Outside these limits no data tell a correction from another exponent; they are what
the interval takes for granted.

| symbol | name   | meaning                                                            | shape  |
|--------|--------|--------------------------------------------------------------------|--------|
| b^     | slope  | exponent of the straight line, a contrast of log level means       |        |
| c      | bends  | contrasts perpendicular to lines: orthonormal polynomials, degree  | [K]    |
|        |        | 2 to K + 1                                                         |        |
| V      |        | covariance of c, estimated with f degrees of freedom; `inverse` is | [K, K] |
|        |        | that of V                                                          |        |
| D(g,q) | misfit | -2 log likelihood of a shape s: (f + 1) log(1 + T/f) with           |        |
|        |        | T = (f - K + 1)/f r V^-1 r (Hotelling), r = c less the bends of s  |        |

A shape s moves the exponent by the slope of s, and costs D. Three rules make the interval:

- The straight curve stays while no shape fits better by KEPT: its interval is the plain one.
- A shape counts where it fits better than the straight one by BETTER at least. Without this every
  straight curve would be taken for one that may bend as far as its noise hides it.
- Among shapes that count the interval is the profile likelihood's, to a one-sided level equal to
  `level`: each end is a limit of its own, as bounds and equivalence tests need.

Learning curves have wiggles of their own: a target's parts are learned one after the other, and the
local exponent rises and falls by more than any one correction does. Seeds do not show that, however
many. Where the level means scatter about the likeliest shape by more than their errors explain, in
all contrasts perpendicular to lines (F-test at ROUGH), every error here is multiplied by

    S = sqrt(F),   F = T / (K - 2),

the Birge ratio (Phys. Rev. 40 (1932) 207), two of K contrasts being taken by g and q.

**Known from elsewhere.** Such waves are no noise, and where the kernel's spectrum is known, it
foretells them, within the range and beyond (docs/theory.md, 7.2). Of such a curve all the above is
said of y / P(x), P what is known (`growth.Continuation`), and P's own exponents beyond the range,
from p_1 to p_2, are added:

    low = p_1 + b - sqrt((b - b_low)^2 + e^2),    high = p_2 + b + sqrt((b_high - b)^2 + e^2).

What the curve has beside P over the range may go on beyond it, or die out, as the excess of
networks whose width grows does: limits reach to p_1 and p_2 at least. P leaves out that the design
is random, and may drift away from the curve over the range by a share of DRIFT: e is DRIFT/R. Where
a curve pools k draws of a law and P is known of j of them, the exponents of draws differ; with s
the standard error of b, by the scatter over the k draws, e^2 is (DRIFT/R)^2 + (t s)^2 k/j. Where P
is all that is expected to bend the curve, another correction counts only where the straight y / P
is rejected, by KEPT; of networks of one width, which bends it too, from BETTER on. P is taken where
y / P is described no worse than y, by KEPT; and where it is all that is expected, if y / P is no
less straight, by half as much: the two numbers of a correction describe much that is wrong.
benchmarks/continued.py measures how often these limits are wrong (docs/continued.txt).

The numbers were chosen by simulation (benchmarks/asymptotics.py, docs/asymptotics.txt): pure power
laws are decided as often as possible while curves whose bend can be seen are decided wrongly in at
most a tenth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.fits.growth import Continuation
from analysis.levels.intervals import Array, LevelMeans, Method, student

LARGEST = 1.75
"""Largest |log| of a correction at the smallest x: a factor of 5.75, up or down."""
SLOWEST, FASTEST = math.log(2), 12.5
"""Limits of q R: a correction falls by half over the range at least, and by e^-12.5 at most."""
BETTER = 1.1
"""Fall of -2 log likelihood at which a correction counts beside the straight curve ..."""
KEPT = 6.0
"""... and at which the straight curve no longer counts (chi-square, 2 degrees of freedom: 5 %)."""
BENDS = 3
ROUGH = 0.03
"""Probability of the scatter about the likeliest shape below which it is no seeds' scatter. Chance
falls below it in 5 % of straight curves: there g and q take 1.2 to 1.8 contrasts, not two."""
LEAST_FREEDOM, FREEDOM_A_BEND = 2.0, 4.0
UNFIT = 16.0
"""-2 log likelihood of the best shape above which none describes the curve."""

DRIFT = 0.05
"""Share by which what is known of a curve may drift away from it over the range."""

ROUNDING = 1e-4
"""Least standard error of a bend, for data without noise: models are no better than this."""

REACH = 6.0
"""-2 log likelihood above the least up to which an interval may reach: levels of 99 % do."""

_RATES, _SIZES, _ZOOMS = 24, 25, 3


@dataclass(frozen=True)
class Asymptotic:
    """The exponent at large x and its limits. exponent: of the likeliest shape. straight: whether
    the straight curve is among those that count. bent: whether a correction is. roughness: S, by
    which the scatter about any shape exceeds that of seeds; 1 where it does not. known: how the
    curve goes on, where that is known from elsewhere; straight, bent and roughness are then those
    about it. drift: of its exponent over the range, which no data of the curve make less."""

    exponent: float
    low: float
    high: float
    level: float
    straight: bool
    bent: bool
    roughness: float = 1.0
    known: Continuation | None = None
    drift: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether the interval is the straight line's own."""
        return not self.bent and self.roughness == 1 and self.known is None

    @property
    def given(self) -> tuple[float, float]:
        """The exponents that seeds and drift leave: what is known of the curve, and what it has
        beside that, going on or dying out; the exponent alone where nothing is known."""
        if self.known is None:
            return self.exponent, self.exponent
        beside = self.exponent - (self.known.low + self.known.high) / 2
        return self.known.low + min(0.0, beside), self.known.high + max(0.0, beside)

    def to_dict(self) -> dict[str, Any]:
        """JSON data. known: the exponents beyond the range, and where they end."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.known is not None:
            shown = ("name", "low", "high", "reach", "draws")
            plain["known"] = {name: getattr(self.known, name) for name in shown}
        return plain


@dataclass(frozen=True)
class _Seen:
    """What the data say: see the module's table. t: u less its least value over R, [L]."""

    slope: float
    error: float
    freedom: float
    row: Array
    bends: Array
    rows: Array
    inverse: Array
    bends_freedom: float
    t: Array
    roughness: float = 1.0


@dataclass(frozen=True)
class Likely:
    """What the data leave possible, whatever the level: the straight curve's misfit, and of the
    corrections that count their misfits and shifts of the exponent [n]. known: what the level means
    were divided by, drift: how far its exponent over the range may be off, draws: over how many
    draws of the law they are."""

    seen: _Seen
    straight: float
    misfit: Array
    shift: Array
    known: Continuation | None = None
    drift: float = 0.0
    draws: int = 0

    @property
    def least(self) -> float:
        return float(min(self.misfit.min(initial=np.inf), self.straight))

    @property
    def fits(self) -> bool:
        """Whether a shape describes the curve."""
        return self.least <= UNFIT

    def by_seeds(self, misfit: float) -> float:
        """A misfit by the errors of seeds alone, without the Birge ratio."""
        f, ratio = self.seen.bends_freedom, self.seen.roughness**2
        return (f + 1) * math.log1p(ratio * math.expm1(misfit / (f + 1)))

    def limits(self, level: float) -> Asymptotic:
        """The exponent and its limits, at a two-sided `level` where the curve is straight and a
        one-sided one where it bends."""
        seen, least = self.seen, self.least
        bent, kept = len(self.misfit) > 0, self.straight - least <= KEPT
        exponent = seen.slope
        if least < self.straight:
            exponent -= float(self.shift[int(np.argmin(self.misfit))])
        half = seen.error * student(level, seen.freedom)
        ends = [(seen.slope - half, seen.slope + half)] if kept else []
        one_sided = student(2 * level - 1, seen.freedom) if level > 0.5 else 0.0
        room = one_sided**2 - (self.misfit - least)
        allowed = room >= 0
        if allowed.any():
            at = seen.slope - self.shift[allowed]
            reach = seen.error * np.sqrt(room[allowed])
            ends.append((float((at - reach).min()), float((at + reach).max())))
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        if (known := self.known) is not None:
            others = half * math.sqrt(self.draws / known.draws) if known.draws else 0.0
            low = known.low + min(0.0, exponent - math.hypot(exponent - low, others, self.drift))
            high = known.high + max(0.0, exponent + math.hypot(high - exponent, others, self.drift))
            exponent += (known.low + known.high) / 2
        return Asymptotic(exponent, low, high, level, kept, bent, seen.roughness, known, self.drift)


def likely(means: LevelMeans, known: Continuation | None = None) -> Likely | None:
    """What the curve's log level means leave possible at large x, where `known` describes the curve
    no worse: about it. None where the data have too few levels or values to show a bend, or bend
    as no correction does."""
    own = _likely(means)
    about = None if known is None or own is None else _about(means, known, own)
    made = about or own
    return made if made is not None and made.fits else None


def _about(means: LevelMeans, known: Continuation, own: Likely) -> Likely | None:
    """The same about what is known; None where that describes the curve worse than its `own`."""
    over = replace(means, log_mean=means.log_mean - known.log_shape(means.x))
    made = _likely(over, KEPT if known.alone else BETTER)
    if made is None or not made.fits:
        return None
    if own.fits and made.by_seeds(made.least) > own.by_seeds(own.least) + KEPT:
        return None
    if known.alone and made.by_seeds(made.straight) > own.by_seeds(own.straight) + KEPT / 2:
        return None
    drift = DRIFT / float(means.u[-1] - means.u[0])
    return replace(made, known=known, drift=drift, draws=means.seeds)


def _likely(means: LevelMeans, better: float = BETTER) -> Likely | None:
    """Whether or not a shape `fits`."""
    seen = _seen(means, BENDS)
    if seen is None:
        return None
    seen = _roughened(seen, means)
    straight = float(_misfit(seen, np.zeros((1, len(seen.t))))[0])
    found = [_shapes(seen, sign) for sign in (1.0, -1.0)]
    misfit, shift = (np.concatenate([f[i] for f in found]) for i in (0, 1))
    counts = misfit <= straight - better
    return Likely(seen, straight, misfit[counts], shift[counts])


def _roughened(seen: _Seen, means: LevelMeans) -> _Seen:
    """With errors times the Birge ratio where the curve is rougher than its seeds explain."""
    if means.method is Method.RESIDUALS:  # errors that rest on the scatter hold it already
        return seen
    whole = _seen(means, len(means.x))
    size = 0 if whole is None else len(whole.rows)
    if whole is None or size < 3:
        return seen
    f = whole.bends_freedom
    least = min(float(_shapes(whole, sign)[0].min()) for sign in (1.0, -1.0))
    ratio = f * math.expm1(least / (f + 1)) / (size - 2)  # T of D
    if special.fdtrc(size - 2, f - size + 1, ratio) > ROUGH:
        return seen
    return replace(
        seen,
        error=seen.error * math.sqrt(ratio),
        inverse=seen.inverse / ratio,
        roughness=math.sqrt(ratio),
    )


def _seen(means: LevelMeans, wanted: int) -> _Seen | None:
    """What the level means say of slope and of so many bends, or as many as they can; None where it
    is too little."""
    size = len(means.x)
    most = min(wanted, size - 4 if means.method is Method.RESIDUALS else size - 2)
    if size < 4 or most < 1:
        return None
    t = (means.u - means.u[0]) / (means.u[-1] - means.u[0])
    powers = np.vander(t - t.mean(), most + 2, increasing=True)
    rows = np.asarray(np.linalg.qr(powers)[0].T[2:], dtype=np.float64)
    while True:
        covariance = _covariance(means, rows, most + 1)
        freedom = _freedom(means, rows, covariance, most + 1)
        # as many bends as their covariance has freedom for
        if len(rows) == 1 or freedom >= FREEDOM_A_BEND * len(rows):
            break
        rows = rows[: max(1, int(freedom / FREEDOM_A_BEND))]
    if freedom < LEAST_FREEDOM or not np.isfinite(covariance).all():
        return None
    row = -means.polynomial(1)[1]
    slope = means.contrast(row)
    covariance += ROUNDING**2 * np.eye(len(rows))
    inverse = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    bends = rows @ means.log_mean
    return _Seen(slope.estimate, slope.error, slope.freedom, row, bends, rows, inverse, freedom, t)


def _freedom(means: LevelMeans, rows: Array, covariance: Array, degree: int) -> float:
    """Degrees of freedom of the covariance [K, K] of contrasts: with independent levels those of
    Krishnamoorthy and Yu (Statistics & Probability Letters 66 (2004) 161), Satterthwaite's for
    K = 1."""
    size = len(rows)
    if size == 1 or means.clusters is not None or means.method is Method.RESIDUALS:
        return means.contrast(rows[0], degree=degree).freedom
    every = [means.contrast(row) for row in np.eye(len(means.x))]
    pseudo_inverse = np.linalg.pinv(covariance)
    part = np.array([c.error**2 for c in every]) * np.einsum(
        "kl,km,ml->l", rows, pseudo_inverse, rows
    )
    below = 2 * float(np.sum(part**2 / np.array([c.freedom for c in every])))
    known = every[0].freedom * len(every)
    return min(size * (size + 1) / below, known) if below > 0 else known


def _covariance(means: LevelMeans, rows: Array, degree: int) -> Array:
    """[K, K] of contrasts, from the variances of their sums and differences, so that it is right
    for every way in which `LevelMeans` estimates a variance."""

    def variance(c: Array) -> float:
        return means.contrast(c, degree=degree).error ** 2

    size = len(rows)
    made = np.empty((size, size))
    for i in range(size):
        for j in range(i + 1):
            both = variance(rows[i] + rows[j]) - variance(rows[i] - rows[j])
            made[i, j] = made[j, i] = both / 4
    values, vectors = np.linalg.eigh(made)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)


def _misfit(seen: _Seen, shapes: Array) -> Array:
    """[...] -2 log likelihood of shapes [..., L], up to a constant."""
    left = seen.bends - shapes @ seen.rows.T
    size = np.einsum("...i,ij,...j->...", left, seen.inverse, left)
    f, spare = seen.bends_freedom, seen.bends_freedom - len(seen.rows) + 1
    return np.asarray((f + 1) * np.log1p(size * spare / f**2))


def _shapes(seen: _Seen, sign: float) -> tuple[Array, Array]:
    """Misfit and shift of the exponent of corrections of one sign [n]: a grid over rate and size
    that closes in on what is within REACH of the likeliest: sizes at each rate, then rates. All
    points of all grids are kept, so a region of any size has many points across it."""
    misfits, shifts = [], []
    logs = np.linspace(math.log(SLOWEST), math.log(FASTEST), _RATES)
    for _ in range(_ZOOMS):
        falling = np.exp(-np.exp(logs)[:, None, None] * seen.t)
        sizes = np.tile(np.linspace(LARGEST / _SIZES, LARGEST, _SIZES), (_RATES, 1))
        best = np.full(_RATES, np.inf)
        for _ in range(_ZOOMS + 1):
            shapes = np.log1p(np.expm1(sign * sizes)[..., None] * falling)
            misfit = _misfit(seen, shapes)
            misfits.append(misfit.ravel())
            shifts.append((shapes @ seen.row).ravel())
            best = np.minimum(best, misfit.min(axis=1))
            low, high = _within(misfit)
            step = sizes[:, 1:2] - sizes[:, :1]
            start = np.take_along_axis(sizes, low[:, None], axis=1) - step
            stop = np.take_along_axis(sizes, high[:, None], axis=1) + step
            start, stop = np.maximum(start, step / _SIZES), np.minimum(stop, LARGEST)
            sizes = start + (stop - start) * np.linspace(0, 1, _SIZES)
        (first,), (last,) = _within(best[None])
        ends = logs[max(first - 1, 0)], logs[min(last + 1, _RATES - 1)]
        logs = np.linspace(*ends, _RATES)
    return np.concatenate(misfits), np.concatenate(shifts)


def _within(misfit: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and last column of each row that is within REACH of the row's least [n, m]."""
    near = misfit <= misfit.min(axis=1, keepdims=True) + REACH
    return near.argmax(axis=1), near.shape[1] - 1 - near[:, ::-1].argmax(axis=1)
