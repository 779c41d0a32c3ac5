"""Two levels: a mean over few dear trials, sharpened by many cheap ones on the same data.

The network is trained on few seeds, its kernel limit on those and on many more. What the seeds of
the network happen to be shows in the kernel's mean over them, beside its mean over all seeds: a
control variate (Hammersley and Handscomb, Monte Carlo Methods, 1964), on logs of level
means, in which both scatter alike:

    log mu_l = log mean(y)_l + theta D_l,    D_l = log mean_all(z)_l - log mean_paired(z)_l

| symbol | name      | meaning                                                          | shape |
|--------|-----------|------------------------------------------------------------------|-------|
| y, z   |           | the quantity of the network; of the kernel on the same data      |       |
| M_l    |           | seeds of the network at the level, every one the kernel's too    | [L]   |
| K_l    | kernels   | seeds of the kernel, more than M_l; 0 where it is not used       | [L]   |
| p_y    |           | jackknife pseudo-values of log mean(y), see `intervals`          |       |
| theta  | theta     | coefficient, one for all levels; 1 is kernel plus mean of y/z    | 1     |
| e_s    |           | p_y - theta p_z of a seed of the network                         |       |

Any theta that does not come from the data leaves the mean unbiased, and the best one is the slope
of p_y against p_z. It is estimated from all levels at once, each weighed by the kernel's variance
there, which K_l seeds know well: nu = sum (M_l - 1) - 1 degrees of freedom. theta = 1 would be as
good at a correlation of 0.98, no better than the network alone at 0.5, and 1.4 times as long at 0.
With few seeds and a correlation near 0 a slope is noise that costs precision, so it is shrunk: by
1 - 1/F, F its F-ratio, and to 0 where that is negative or the slope is (James and Stein's positive
part). Then the interval is no longer than the network's own at any correlation
(docs/two_levels.txt).

The error of seed s is e_s / M_l + theta p_z / K_l for the network's seeds, theta p_z / K_l for the
kernel's other ones, so that the variance of log mu_l is

    A + B + X,   A = var(e)/M,   B = theta^2 var(p_z)/K,   X = 2 theta cov(e, p_z)/K

(X is taken with the correlation of the M pairs and the variance of all K, so that the sum is never
negative; with K = M it is the network's own variance). A has M - 1 degrees of freedom, B has K - 1,
and X varies as 4 A B (M/K)/(M - 1), which Satterthwaite's rule puts together. A slope estimated
takes one degree of freedom, nu/(nu + 1), from every level, and its own error moves all levels
together: (sum_l c_l D_l)^2 var(theta). Levels are independent: at each N there are new data. Where
seeds link the levels (the same data along the axis), their effects cancel in a slope by themselves,
and there is nothing for the kernel to take out.

The test set's own error stays as it is: both are measured on the same points.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.levels.log_means import EQUAL, Array, log_means
from analysis.levels.test_set import log_sums, spread

LEAST_GAIN = 1.05
"""In length, below which an interval is not called shorter."""

LEAST_FREEDOM = 3
"""Degrees of freedom of the coefficient below which it is not estimated."""


@dataclass(frozen=True, eq=False)
class Control:
    """What a curve's trials share their seeds with. seed [n]: of each value of the curve; own_x,
    own_y, own_seed [k]: the cheap trials, those on the same data among them; own_without [k, G]:
    own_y without each group of test points, None where unknown."""

    seed: NDArray[np.int64]
    own_x: Array
    own_y: Array
    own_seed: NDArray[np.int64]
    own_without: Array | None = None

    def of(self, keep: NDArray[np.bool_]) -> Control:
        """For some of the curve's values, keep [n]."""
        return replace(self, seed=self.seed[keep])


@dataclass(frozen=True)
class Sharpened:
    """What the kernel's seeds do for an exponent. network_seeds, kernel_seeds: the fewest, among
    the `levels` that have both. coefficient: theta. correlation: of network and kernel over seeds.
    narrower: the length of the network's own interval over that of both."""

    network_seeds: int
    kernel_seeds: int
    levels: int
    coefficient: float
    correlation: float
    narrower: float

    @property
    def told(self) -> str:
        """In words: what stands beside the network's seeds, and what for."""
        gain = (
            f"an interval {self.narrower:.2g} times as short as theirs alone"
            if self.narrower >= LEAST_GAIN
            else "no shorter interval than theirs alone"
        )
        own, limit = self.network_seeds, self.kernel_seeds
        return f"{limit} seeds of the kernel limit beside {own} of the network: {gain}"


@dataclass(frozen=True, eq=False)
class TwoLevels:
    """The sharpened level means; see the module's table. correlation: of p_y and p_z, pooled.

    log_mean, mean [L]: of the two levels together. network, kernel, crossed [L]: A, B and X.
    count [L]: M. shift [L]: D. slope_variance, slope_freedom: of theta.
    test_scores [G, L]: as of `test_set.scores`, None where unknown.
    """

    theta: float
    correlation: float
    mean: Array
    log_mean: Array
    network: Array
    kernel: Array
    crossed: Array
    count: NDArray[np.int64]
    kernels: NDArray[np.int64]
    shift: Array
    slope_variance: float
    slope_freedom: float
    test_scores: Array | None

    @property
    def variance(self) -> Array:
        """[L] of log_mean."""
        own = self.network + self.kernel + self.crossed
        return np.asarray(own + self.shift**2 * self.slope_variance)

    def sharpened(self, narrower: float) -> Sharpened:
        """In numbers for a reader."""
        used = self.kernels > 0
        return Sharpened(
            int(self.count[used].min()),
            int(self.kernels[used].min()),
            int(used.sum()),
            self.theta,
            self.correlation,
            narrower,
        )

    def error(self, c: Array) -> tuple[float, float]:
        """Variance and degrees of freedom of a contrast c [L]."""
        a, b, x = (c**2 * part for part in (self.network, self.kernel, self.crossed))
        slope = float(c @ self.shift) ** 2 * self.slope_variance
        total = float(np.sum(a + b + x)) + slope
        ratio = self.count / np.maximum(self.kernels, self.count)
        below = float(np.sum((a**2 + 2 * a * b * ratio) / (self.count - 1)))
        below += float(np.sum(b**2 / np.maximum(self.kernels - 1, 1)))
        below += slope**2 / self.slope_freedom
        return total, total**2 / below if below > 0 else float(np.sum(self.count - 1))


def two_levels(
    levels: Array,
    where: NDArray[np.int64],
    y: Array,
    control: Control,
    without: Array | None = None,
    geometric: bool = False,
) -> TwoLevels | None:
    """The two-level means of y [n] at levels[where[n]]; None where the kernel cannot sharpen them.

    A level has two where every seed of the network is one of the kernel's, which has more; the
    other levels keep the network's own mean. without [n, G]: as of `test_set.scores`.
    """
    count = np.bincount(where)
    if int(count.min()) < 2:
        return None
    pairs = [_pair(control, x, np.flatnonzero(where == at)) for at, x in enumerate(levels)]
    every = [
        _Level.of(
            y[where == at],
            None if pair is None else (control.own_y[p] for p in pair),
            geometric,
        )
        for at, pair in enumerate(pairs)
    ]
    freedom = float(sum(len(one.p_y) - 1 for one in every if one.kernels)) - 1
    if freedom < LEAST_FREEDOM:
        return None
    zz, zy, yy = sum((one.products for one in every), np.zeros(3)).tolist()
    if not zz > 0:
        return None
    slope = zy / zz
    left = max(yy - slope * zy, 0.0) / freedom
    theta = max(slope - left / zy, 0.0) if zy > 0 else 0.0  # slope (1 - 1/F), F = slope zy/left
    lost = (freedom + 1) / freedom if theta > 0 else 1.0
    network, kernel, crossed = np.array([one.parts(theta, lost) for one in every]).T
    tested = None
    if without is not None:
        logs = log_sums(where, without, geometric)
        for at, pair in enumerate(pairs):
            if pair is not None and control.own_without is not None:
                own, whole = (_log_mean(control.own_without[p], geometric) for p in pair)
                logs[:, at] += theta * (whole - own)
        tested = spread(logs)
    return TwoLevels(
        theta,
        zy / float(np.sqrt(zz * yy)) if yy > 0 else 0.0,
        np.array([one.mean * one.ratio**theta for one in every]),
        np.array([one.log_mean + theta * one.shift for one in every]),
        network,
        kernel,
        crossed,
        count,
        np.array([one.kernels for one in every]),
        np.array([one.shift for one in every]),
        left / zz if theta > 0 else 0.0,
        freedom,
        tested,
    )


def _pair(
    control: Control, x: float, here: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Places in the control's arrays of the partners of the curve's trials `here`, all at x, and of
    all its trials at x; None where some have no partner, or it has no more than those."""
    there = np.flatnonzero(np.abs(control.own_x - x) <= EQUAL * x)
    known = dict(zip(control.own_seed[there].tolist(), there.tolist(), strict=True))
    partners = [known.get(seed) for seed in control.seed[here].tolist()]
    own = [place for place in partners if place is not None]
    if len(own) < len(partners) or not len(own) == len(set(own)) < len(known) == len(there):
        return None
    z = control.own_y[there]
    return (np.array(own), there) if (np.isfinite(z) & (z > 0)).all() else None


@dataclass(frozen=True)
class _Level:
    """One level: pseudo-values of y and of its partners z [M], less their means; spread: variance
    of p_z over all K; ratio: of the mean of all z to that of the partners. K = 0: no partners."""

    mean: float
    log_mean: float
    p_y: Array
    p_z: Array
    kernels: int = 0
    spread: float = 0.0
    shift: float = 0.0
    ratio: float = 1.0

    @classmethod
    def of(cls, y: Array, z: Iterable[Array] | None, geometric: bool) -> _Level:
        """z: those of the partners, and all."""
        mean, log_mean, p_y = _pseudo_values(y, geometric)
        if z is None:
            return cls(mean, log_mean, p_y, np.zeros_like(p_y))
        own, whole = z
        own_mean, own_log, p_z = _pseudo_values(own, geometric)
        all_mean, all_log, p_all = _pseudo_values(whole, geometric)
        known, spread = len(whole), float(p_all @ p_all) / (len(whole) - 1)
        if not spread > 0:
            return cls(mean, log_mean, p_y, np.zeros_like(p_y))
        return cls(mean, log_mean, p_y, p_z, known, spread, all_log - own_log, all_mean / own_mean)

    @property
    def products(self) -> Array:
        """Sums of p_z^2, p_z p_y and p_y^2 in units of the kernel's variance [3]."""
        if not self.kernels:
            return np.zeros(3)
        z, y = self.p_z, self.p_y
        return np.array([z @ z, z @ y, y @ y]) / self.spread

    def parts(self, theta: float, lost: float) -> tuple[float, float, float]:
        """A, B and X. lost: what a slope estimated takes from the variance of e."""
        size = len(self.p_y)
        if not self.kernels:
            return float(self.p_y @ self.p_y) / max(size - 1, 1) / size, 0.0, 0.0
        e = self.p_y - theta * self.p_z
        own = float(e @ e)
        length = np.sqrt(own * float(self.p_z @ self.p_z))
        alike = float(e @ self.p_z) / length if length > 0 else 0.0
        own *= lost / (size - 1)
        crossed = 2 * theta * alike * np.sqrt(own * self.spread) / self.kernels
        return own / size, theta**2 * self.spread / self.kernels, float(crossed)


def _log_mean(values: Array, geometric: bool) -> Array:
    """[G] of values [k, G], over k."""
    return np.asarray(np.log(values).mean(axis=0) if geometric else np.log(values.mean(axis=0)))


def _pseudo_values(y: Array, geometric: bool) -> tuple[float, float, Array]:
    """Mean, log mean and pseudo-values less that of one level's y [n]."""
    mean, log_mean, share = log_means(np.zeros(len(y), dtype=np.int64), y, geometric)
    return float(mean[0]), float(log_mean[0]), share * len(y)
