"""The width above which a network is lazy: where its coupling E||f_W - f^K||^2 becomes C / m.

At one effective time s = eta tau the coupling falls as 1/m at large widths and more slowly below;
the longer the network trains, the wider it has to be. The least shape that does both is

    c(m, s) = C(s) / (m + m*(s)),

whose local exponent in m is m / (m + m*): 1 far above m*, 1/2 at m*. It is fitted at each time for
itself, by least squares in logarithms of level means, in which widths weigh equally; m* then grows
as s^p.

| symbol | meaning                                                  | shape |
|--------|----------------------------------------------------------|-------|
| c      | coupling: times, seeds, widths                           | T,S,W |
| m*     | crossover width, 0 where the coupling is all 1/m         | [T]   |
| p      | exponent of m* in s, over the times where m* is resolved | 1     |

Widths of a seed share their data, and the times of a trial its weights: so errors come from the
jackknife over seeds, of everything at once. They hold the noise, not the misfit of the shape, which
is told beside them. The shape is this project's own choice; docs/theory.md, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.levels.intervals import Array, student
from analysis.levels.test_set import spread

LEAST_WIDTHS = 4
LEAST_SEEDS = 3
LEAST_TIMES = 5
LEAST_RANGE = 3.0
"""Factor in time over which m* must be resolved before it has an exponent."""

RESOLVED = 0.5
"""m* is resolved where the standard error of its logarithm is smaller than this ..."""

_ROUNDS = 6
"""Of refinement: the grid in log m* ends finer than 1e-6."""

REACH = 4.0
"""... and where it is no less than the least width over this: farther below, it hardly shows."""


@dataclass(frozen=True, eq=False)
class Crossover:
    """time, m_star, height (C) [T], mean [T, W] (level means of the coupling), widths [W].
    error [T]: of log m_star, infinite where it is 0. resolved [T]. exponent, low, high: of m_star
    in time, NaN where too few times resolve it; level: of the interval. misfit: root mean square
    of the means' logarithms about the shape where it is resolved. seeds: in the jackknife."""

    time: Array
    widths: Array
    mean: Array
    height: Array
    m_star: Array
    error: Array
    resolved: NDArray[np.bool_]
    exponent: float
    low: float
    high: float
    level: float
    misfit: float
    seeds: int

    def interval(self) -> tuple[Array, Array]:
        """Ends of the interval of m_star at each time; NaN where it is not resolved."""
        half = student(self.level, self.seeds - 1) * np.where(self.resolved, self.error, np.nan)
        return self.m_star * np.exp(-half), self.m_star * np.exp(half)


def crossover(time: Array, widths: Array, coupling: Array, level: float = 0.95) -> Crossover | str:
    """The crossover of coupling [T, S, W] > 0 at times [T] and widths [W], rising both; or why
    there is none: too few widths or seeds."""
    _times, seeds, count = coupling.shape
    if count < LEAST_WIDTHS:
        return f"needs {LEAST_WIDTHS} widths on the same data or more, and has {count}"
    if seeds < LEAST_SEEDS:
        return f"needs {LEAST_SEEDS} seeds at every width or more, and has {seeds}"
    mean = coupling.mean(axis=1)
    height, m_star = _shape(widths, mean)
    without = [_shape(widths, np.delete(coupling, s, axis=1).mean(axis=1))[1] for s in range(seeds)]
    logs = np.log(np.maximum(np.stack([m_star, *without]), 1e-300))
    error = np.where(m_star > 0, _jackknife(logs[1:]), np.inf)
    resolved = (error < RESOLVED) & (m_star >= widths[0] / REACH)
    exponent = half = float("nan")
    at = np.flatnonzero(resolved)
    if len(at) >= LEAST_TIMES and time[at[-1]] / time[at[0]] >= LEAST_RANGE:
        slopes = [float(np.polyfit(np.log(time[at]), one[at], 1)[0]) for one in logs]
        exponent = slopes[0]
        half = student(level, seeds - 1) * float(_jackknife(np.array(slopes[1:])[:, None])[0])
    left = (np.log(mean) - np.log(height[:, None] / (widths + m_star[:, None])))[resolved]
    return Crossover(
        time, widths, mean, height, m_star, error, resolved,
        exponent, exponent - half, exponent + half, level,
        float(np.sqrt(np.mean(left**2))) if left.size else float("nan"), seeds,
    )  # fmt: skip


def _shape(widths: Array, mean: Array) -> tuple[Array, Array]:
    """C and m* [T] of level means [T, W].

    log C is a mean given m*, so that m* alone is searched: on a grid from 0 to far above all
    widths, for the sum of squares may have two minima, then on ever finer ones about the best."""
    logs = np.log(mean)[:, None]

    def moved(m_star: Array) -> Array:
        return np.asarray(logs + np.log(widths + m_star[..., None]))  # [T, G, W]

    low, high = np.log(widths[0]) - 8.0, np.log(widths[-1]) + 4.0
    middle, step = np.full(len(mean), (low + high) / 2), (high - low) / 60
    offsets = np.arange(-30, 31)
    for _ in range(_ROUNDS):
        grid = middle[:, None] + step * offsets
        best = np.argmin(moved(np.exp(grid)).var(axis=2), axis=1)
        middle, step = np.take_along_axis(grid, best[:, None], axis=1)[:, 0], step / 12
        offsets = np.arange(-12, 13)
    m_star = np.where(middle > low + 1.0, np.exp(middle), 0.0)
    return np.exp(moved(m_star[:, None]).mean(axis=2)[:, 0]), m_star


def _jackknife(without: Array) -> Array:
    """[T] standard errors from the values without each seed [S, T]."""
    return np.asarray(np.linalg.norm(spread(without), axis=0))
