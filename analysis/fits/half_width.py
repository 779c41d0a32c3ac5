"""Where to put the next trials, so that an exponent's interval narrows most for their cost.

The exponent of y ~ x^-b is a contrast of log level means in which all levels weigh the same
(analysis.levels.intervals), so its variance follows from the numbers of trials alone:

| symbol | name      | meaning                                               | shape |
|--------|-----------|-------------------------------------------------------|-------|
| u_l    |           | log x_l                                               | [L]   |
| n_l    | counts    | trials at the level                                   | [L]   |
| c_l    | costs     | what one more trial there costs, in any unit          | [L]   |
| s_l^2  | variances | variance of log y at the level, one trial             | [L]   |
| w_l    |           | (u_l - mean u) / sum (u - mean u)^2                   | [L]   |
| g_l    |           | w_l^2 s_l^2 / n_l, the level's share of var(b)        | [L]   |

var(b) = sum g, with Satterthwaite's degrees of freedom (sum g)^2 / sum g^2/(n - 1). Trials are
added one at a time, each where it saves most of var(b) for its cost. Since g_l is convex in n_l,
that is the best of all designs of its cost, up to the last trial, and tends to Neyman's allocation
n_l ~ |w_l| s_l / sqrt(c_l): against as many trials everywhere it costs
(sum |w| s sqrt(c))^2 / (sum c sum w^2 s^2), at most 1. The exponent is the same number whatever
the allocation, also where the curve bends. The pilot has PILOT trials at each level, and more
where they are cheap: they tell the spread.

A rule that looks at the data must not lie because it looked. Only spreads and costs are used,
never the exponent, its fit or a verdict. A level whose spread comes out too small would draw fewer
trials and stay too small, so trials are placed by a curve of spreads through all levels, whose
slope is drawn to 0; placed by each level's own, intervals covered at 0.92 in simulation. What is
left is that rounds end when the interval is short, as a grid does to which seeds are added until
it is: benchmarks/adaptive.py shows what that costs coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.levels.clusters import spread_curve
from analysis.levels.intervals import Array, student, summarise

Counts = NDArray[np.int64]

PILOT, MOST_PILOT = 5, 12
"""Trials of a level before anything is decided: at least, and at most where they are cheap. With
three, intervals that are still wide cover less than they say: a level's own spread is too vague."""

PILOT_SHARE = 1 / 8
"""Of what the dearest level's pilot costs: up to that, a cheap level has more trials."""

SLOPE_PRIOR = 40.0
"""What draws the slope of the spreads to 0, see `spread_curve`."""

GROWTH = 1.0
"""A round costs at most this share of all before it, so that spreads are learnt on the way."""


@dataclass(frozen=True)
class Design:
    """What is known of one curve. x [L] rising; counts, costs and variances as in the module.

    own: the levels' own variances, those of the final interval (jackknifed,
    analysis.levels.intervals).
    """

    x: Array
    counts: Counts
    costs: Array
    variances: Array
    own: Array

    @classmethod
    def of(
        cls,
        levels: ArrayLike,
        costs: ArrayLike,
        x: ArrayLike,
        y: ArrayLike,
        geometric: bool = False,
    ) -> Design:
        """From one y > 0 a trial, at x; levels [L] rising, costs [L] of a trial at each; geometric:
        of the level means.

        Raises ValueError for fewer than three levels, a value that is not positive, or where no
        level has two trials that differ.
        """
        grid, price = (np.asarray(a, dtype=np.float64) for a in (levels, costs))
        at, value = (np.asarray(a, dtype=np.float64) for a in (x, y))
        if len(grid) < 3 or not (grid > 0).all() or not (price > 0).all():
            raise ValueError("a design needs three positive levels or more, with positive costs")
        if not (np.isfinite(value) & (value > 0)).all():
            raise ValueError("a design needs positive, finite values")
        logs = [np.log(value[at == level]) for level in grid]
        counts = np.array([len(v) for v in logs])
        squares = np.array([np.sum((v - v.mean()) ** 2) if len(v) else 0.0 for v in logs])
        planned = spread_curve(np.log(grid), counts, squares, SLOPE_PRIOR)
        own = planned
        if counts.min() >= 2:
            means = summarise(at, value, geometric=geometric)
            own = means.variance * means.count
        return cls(grid, counts, price, planned, own)

    def plus(self, more: Counts) -> Design:
        """The same curve with more trials."""
        return replace(self, counts=self.counts + more)

    def half_width(self, level: float = 0.95) -> float:
        """Half of the exponent's interval, as the levels' own spreads give it: for the present
        counts the interval's of the fit. Infinite where a level has fewer than two trials."""
        if self.counts.min() < 2:
            return math.inf
        g = self._shares(self.counts, self.own)
        freedom = g.sum() ** 2 / float(np.sum(g**2 / (self.counts - 1)))
        return math.sqrt(float(g.sum())) * student(level, freedom)

    def best_addition(self) -> int:
        """The level whose next trial lowers var(b) most for its cost; one without a spread of its
        own comes first."""
        if self.counts.min() < 2:
            return int(np.argmin(self.counts))
        now, then = (self._shares(n, self.variances) for n in (self.counts, self.counts + 1))
        return int(np.argmax((now - then) / self.costs))

    def _shares(self, counts: Counts, variances: Array) -> Array:
        u = np.log(self.x) - np.log(self.x).mean()
        return np.asarray((u / (u @ u)) ** 2 * variances / counts)


def pilot_counts(costs: ArrayLike, least: int = PILOT) -> Counts:
    """Trials [L] to begin with, for costs [L]: see PILOT and PILOT_SHARE."""
    price = np.asarray(costs, dtype=np.float64)
    wanted = np.floor(least * price.max() * PILOT_SHARE / price).astype(np.int64)
    return np.asarray(np.clip(wanted, least, max(least, MOST_PILOT)))


@dataclass(frozen=True)
class Round:
    """What to train next: more [L] trials at each level. half_widths: what each target's exponent
    is expected to have now. reached: all targets are, so nothing is to be added."""

    more: Counts
    half_widths: tuple[float, ...]
    reached: bool


def next_round(
    designs: Sequence[Design],
    targets: Sequence[float],
    budget: float = math.inf,
    trials: float = math.inf,
    level: float = 0.95,
) -> Round:
    """The next trials of one curve's targets: designs that differ in their variances only.

    One at a time for the target that is furthest from its half-width, until all are expected to be
    reached, or the next one would cost more than `budget` in all, or more than GROWTH times what
    was spent (a single one is always allowed within the budget), or there are `trials` of them.
    """
    first = designs[0]
    allowed = min(budget, GROWTH * float(first.counts @ first.costs))
    more, cost = np.zeros(len(first.x), dtype=np.int64), 0.0
    now = tuple(design.half_width(level) for design in designs)
    widths = now
    while True:
        lacking = [w / target for w, target in zip(widths, targets, strict=True)]
        worst = int(np.argmax(lacking))
        if lacking[worst] <= 1 or more.sum() + 1 > trials:
            break
        index = designs[worst].plus(more).best_addition()
        cost += float(first.costs[index])
        if cost > (allowed if more.any() else budget):
            break
        more[index] += 1
        widths = tuple(design.plus(more).half_width(level) for design in designs)
    return Round(more, now, all(w <= t for w, t in zip(now, targets, strict=True)))
