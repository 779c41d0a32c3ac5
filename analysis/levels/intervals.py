"""Level means of a curve, and honest intervals for any linear contrast of their logarithms.

A **level** is a distinct x; at each one there are n_l values y, one per trial. Everything that a
straight line in log-log can be asked (slope, local slope, curvature, forecast) is a contrast
sum_l c_l log mu_l, mu_l = E[y] at the level, so one variance formula serves them all:

| symbol | name here | meaning                                                        | shape  |
|--------|-----------|----------------------------------------------------------------|--------|
| u_l    | u         | log x_l                                                        | [L]    |
| n_l    | count     | values at the level                                            | [L]    |
|        | mean      | mean of y at the level                                         | [L]    |
|        | log_mean  | log mu_l, estimated: log(mean) less its jackknife bias         | [L]    |
| p_sl   |           | pseudo-values n log(mean_l) - (n - 1) log(mean_l without s)    |        |
| v_l    | variance  | variance of log_mean: that of the p_sl over n_l                | [L]    |
|        | clusters  | each seed's share (p_sl - log_mean_l)/n_l of the error         | [S, L] |
|        | test_scores | each group of test points' share of the error (`test_set`)   | [K, L] |

The pseudo-values (Tukey's jackknife) do two things that (y - mean)/mean, the delta method, does
not: they take out the bias of the log of a mean, which bends a curve whose noise changes with x,
and they widen the interval where a skewed noise makes the first order too optimistic. In
benchmarks/coverage.py both matter below ten seeds. The mean of log y would be exact for lognormal
noise of constant size, and is off by the change of half its variance wherever that changes.

Four ways to the variance, chosen by `summarise` from the design alone, never from the values, but
for values that repeat:

- `SEEDS` (per-seed slopes): a seed stands at several levels and its effect is shared between them.
  Where all stand at all levels, seed s has its own slope sum_l c_l p_sl; the variance is that of S
  independent slopes, with S - 1 degrees of freedom. Shared effects that cancel in a slope cancel
  here. Where some stand at some levels only, see `clusters`.
- `LEVELS`: values are independent between levels: sum_l c_l^2 v_l with Satterthwaite's degrees of
  freedom, so that the noise may differ from level to level.
- `TWO_LEVELS`: the same where the kernel limit stands on the seeds of the network and on more:
  means and errors are those of `two_levels`.
- `RESIDUALS`: one value at some level, or the same value over and over at most levels (copies, one
  seed under several names, or noise below the last digit that was kept): the scatter about the
  line is all there is. It does not show what levels share: `alone`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.levels import test_set
from analysis.levels.clusters import Clusters
from analysis.levels.log_means import EQUAL, log_means
from analysis.levels.two_levels import Control, TwoLevels, two_levels

Array = NDArray[np.float64]


def student(level: float, freedom: float) -> float:
    """Half the width of Student's two-sided interval at `level`, in standard errors."""
    return float(special.stdtrit(freedom, 0.5 + level / 2))


class Method(StrEnum):
    """How an interval was made."""

    LEVELS = "t on log level means"
    SEEDS = "per-seed slopes"
    RESIDUALS = "t on residuals"
    TWO_LEVELS = "t on log level means of network and kernel"
    PROFILE = "profile likelihood"


@dataclass(frozen=True)
class Contrast:
    """An estimate with its standard error and the degrees of freedom of that error."""

    estimate: float
    error: float
    freedom: float

    def interval(self, level: float) -> tuple[float, float]:
        """Two-sided Student interval at `level`."""
        if self.error == 0:
            return self.estimate, self.estimate
        half = self.error * student(level, self.freedom)
        return self.estimate - half, self.estimate + half

    @property
    def statistic(self) -> float:
        """estimate / error; 0/0 is 0."""
        if self.error == 0:
            return 0.0 if self.estimate == 0 else float(np.copysign(np.inf, self.estimate))
        return self.estimate / self.error

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "the contrast is zero"."""
        return float(2 * special.stdtr(self.freedom, -abs(self.statistic)))


@dataclass(frozen=True)
class LevelMeans:
    """What is known of a curve, level by level; see the module's table for the symbols. both: the
    two levels that the means are made of, None where there is one; alone: without the kernel."""

    x: Array
    mean: Array
    log_mean: Array
    count: NDArray[np.int64]
    variance: Array
    method: Method
    seeds: int
    clusters: Clusters | None = field(default=None, repr=False)
    test_scores: Array | None = field(default=None, repr=False)
    both: TwoLevels | None = field(default=None, repr=False)
    alone: LevelMeans | None = field(default=None, repr=False)

    @property
    def u(self) -> Array:
        return np.log(self.x)

    @property
    def weights(self) -> Array:
        """[L] 1: levels weigh the same whatever their numbers of trials, so that an exponent of a
        curve that bends does not depend on where seeds were put. Estimated variances are not used
        as weights: with few seeds they are noisy, and correlated with the means. Where one value
        at a level leaves only the scatter about the line (RESIDUALS), n_l / mean(n)."""
        if self.method is Method.RESIDUALS:
            return np.asarray(self.count / self.count.mean(), dtype=np.float64)
        return np.ones(len(self.x))

    def polynomial(self, degree: int, levels: slice | None = None) -> Array:
        """[degree + 1, L] contrasts giving the weighted least-squares coefficients of log_mean in
        powers of (u - mean u); zero outside `levels`."""
        chosen = np.arange(len(self.x))[levels or slice(None)]
        root = np.sqrt(self.weights[chosen])
        design = np.vander(self.u[chosen] - self.u.mean(), degree + 1, increasing=True)
        full = np.zeros((degree + 1, len(self.x)))
        full[:, chosen] = np.linalg.pinv(design * root[:, None]) * root
        return full

    def contrast(
        self,
        c: Array,
        degree: int = 1,
        estimate: float | None = None,
        levels: slice | None = None,
    ) -> Contrast:
        """sum_l c_l log mu_l with its error. `degree` is that of the polynomial about which the
        scatter is measured where the method is RESIDUALS, `levels` those whose scatter that is, all
        where not said. `estimate`: for a nonlinear fit, its own value, with c the gradient of it in
        log_mean."""
        own = self._over_seeds(c, degree, estimate, levels or slice(None))
        if self.test_scores is None:
            return own
        variance, freedom = test_set.together(own.error**2, own.freedom, c, self.test_scores)
        return Contrast(own.estimate, float(np.sqrt(variance)), freedom)

    def test_set(self, c: Array, whole: Contrast) -> test_set.TestSet | None:
        """What the test set contributes to the error of a contrast c; None where it is unknown."""
        if self.test_scores is None:
            return None
        own = float(np.sum((self.test_scores @ c) ** 2))
        share = own / whole.error**2 if whole.error > 0 else 0.0
        return test_set.TestSet(len(self.test_scores), float(np.sqrt(own)), share)

    def _over_seeds(self, c: Array, degree: int, estimate: float | None, levels: slice) -> Contrast:
        value = float(c @ self.log_mean) if estimate is None else estimate
        if self.clusters is not None:
            variance, freedom = self.clusters.error(c)
            return Contrast(value, float(np.sqrt(variance)), freedom)
        if self.both is not None:
            variance, freedom = self.both.error(c)
            return Contrast(value, float(np.sqrt(variance)), freedom)
        if self.method is Method.RESIDUALS:
            left = self.left(self.log_mean, degree, levels)[levels]
            spare = max(len(left) - degree - 1, 1)
            scale = float(np.sum(self.weights[levels] * left**2)) / spare
            variance = scale * float(np.sum(c**2 / self.weights))
            return Contrast(value, float(np.sqrt(variance)), float(spare))
        terms = c**2 * self.variance
        total = float(terms.sum())
        below = float(np.sum(terms**2 / (self.count - 1)))
        freedom = total**2 / below if below > 0 else float(np.sum(self.count - 1))
        return Contrast(value, float(np.sqrt(total)), freedom)

    def residuals(self, degree: int = 1) -> Array:
        """[L] log_mean less its polynomial fit."""
        return self.left(self.log_mean, degree)

    def left(self, values: Array, degree: int, levels: slice | None = None) -> Array:
        """[L] values at the levels less their polynomial fit, which is to `levels` alone where they
        are said."""
        powers = np.vander(self.u - self.u.mean(), degree + 1, increasing=True)
        fitted = powers @ (self.polynomial(degree, levels) @ values)
        return np.asarray(values - fitted, dtype=np.float64)


def summarise(
    x: Array,
    y: Array,
    seed: NDArray[np.int64] | None = None,
    without: Array | None = None,
    control: Control | None = None,
    geometric: bool = False,
) -> LevelMeans:
    """The level means of positive, finite `x`, `y` (one value per trial, same length).

    `seed`, where given, links the levels: trials with the same seed are taken to share effects.
    A level with one seed then tells nothing of them: see `alone`, whose levels are left out before.
    `without` [n, K]: y as it is without each of K groups of test points; see `test_set`.
    `control`: cheap trials on the same seeds and more; used where levels are independent.
    `geometric`: the level means are geometric ones; see `log_means`.
    The rule: SEEDS when every level has two seeds or more and at least two seeds stand at two
    levels or more; else LEVELS when every level has two values or more, TWO_LEVELS where the
    control sharpens one or more of them; else RESIDUALS, and so where values `repeat`.
    """
    levels, where = distinct(x)
    count = np.bincount(where)
    mean, log_mean, share = log_means(where, y, geometric)
    variance = np.bincount(where, share**2) * count / np.maximum(count - 1, 1)
    seeds = int(count.min())
    scatter = not repeat(where, y)
    method = Method.LEVELS if seeds >= 2 and scatter else Method.RESIDUALS
    clusters = None
    if seed is not None and scatter:
        names, who = np.unique(seed, return_inverse=True)
        u = np.log(levels) - np.log(levels).mean()
        shared = Clusters.of(who, where, share, u)
        if shared.known and np.sum(np.sum(shared.cells > 0, axis=1) >= 2) >= 2:
            method, seeds, clusters = Method.SEEDS, len(names), shared
    tested = None if without is None else test_set.scores(where, without, geometric)
    alone = LevelMeans(levels, mean, log_mean, count, variance, method, seeds, clusters, tested)
    if control is None or seed is not None:
        return alone
    both = two_levels(levels, where, y, control, without, geometric)
    if both is None:
        return alone
    return replace(
        alone,
        mean=both.mean,
        log_mean=both.log_mean,
        variance=both.variance,
        method=Method.TWO_LEVELS,
        test_scores=both.test_scores,
        both=both,
        alone=alone,
    )


def alone(x: Array, seed: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values [n] stand at a level with one seed, where seeds link levels; none where no seed
    stands at two levels, for these are then independent. What a seed shifts or tilts does not show
    in its scatter about the line, so that an interval made of that would be far too short."""
    return lone(distinct(x)[1], np.unique(seed, return_inverse=True)[1])


def lone(where: NDArray[np.integer[Any]], who: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """`alone` of values [n] whose levels, or cells, and seeds are numbered from 0."""
    pairs = np.unique(np.stack([where, who]), axis=1)
    if len(where) == 0 or np.bincount(pairs[1]).max() < 2:
        return np.zeros(len(where), dtype=bool)
    return np.asarray(np.bincount(pairs[0])[where] == 1)


def repeat(where: NDArray[np.int64], y: Array) -> bool:
    """Whether at more than half of the levels with two values or more all values are equal, but for
    rounding: how far they scatter then says nothing of their error."""
    count = np.bincount(where)
    least, most = np.full(len(count), np.inf), np.zeros(len(count))
    np.minimum.at(least, where, y)
    np.maximum.at(most, where, y)
    several = count > 1
    equal = (most - least <= EQUAL * most) & several
    return bool(2 * equal.sum() > several.sum())


def distinct(x: Array) -> tuple[Array, NDArray[np.int64]]:
    """The levels of x [n], rising, and the level of each value [n]. Values that differ by rounding
    alone, such as 0.3 and 0.1 + 0.2, are one level: the one with the fewest digits."""
    values, where = np.unique(x, return_inverse=True)
    group = np.cumsum(np.diff(values, prepend=-np.inf) > EQUAL * np.abs(values)) - 1
    if len(values) == 0 or group[-1] == len(values) - 1:
        return values, where
    starts = np.searchsorted(group, np.arange(group[-1] + 2))
    levels = [
        min(values[low:high], key=lambda v: len(repr(float(v))))
        for low, high in itertools.pairwise(starts)
    ]
    return np.array(levels), group[where]
