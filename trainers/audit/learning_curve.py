"""The kernel's best error against N, from the spectrum and the target's coefficients themselves.

Descent for a time eta tau keeps e^(-eta tau l_i) of f* in eigenfunction i, and fits a share
1 - e^(-eta tau l_i) of the noise there (docs/theory.md, section 7.2):

    error(N, eta tau) = sum_i c_i^2 e^(-2 eta tau l_i) + (sigma^2/N) sum_i (1 - e^(-eta tau l_i))^2

| symbol  | name        | meaning                                                | shape  | unit |
|---------|-------------|--------------------------------------------------------|--------|------|
| l_i     | eigenvalues | of the kernel's operator, falling: the p largest       | [p]    | x^2  |
| c_i^2   | energies    | squared coefficients of f*, summed over outputs, at    | [q]    | x^2  |
|         | nodes       | these eigenvalues: all of f*, perhaps by a quadrature  | [q]    | x^2  |
|         | rest        | sum of l_i^2 beyond the p largest; 1 - e^-x is x there | scalar | x^4  |
| sigma^2 | noise       | E||X_0 - f*||^2, all outputs                           | scalar | x^2  |

No power law is assumed: f*'s coefficients fall in steps, one for each degree of polynomials.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Array = NDArray[np.float64]

TIMES = 600
"""Log-spaced effective times among which the best is looked for."""


@dataclass(frozen=True)
class Spectrum:
    """What the error is made of: see the module's table."""

    eigenvalues: Array
    nodes: Array
    energies: Array
    rest: float
    noise: float

    def errors(self, samples: float, times: Array) -> Array:
        """error(N, eta tau) at effective times [R]: [R]."""
        bias, fitted = self._parts(times)
        return np.asarray(bias + self.noise / samples * fitted)

    def _parts(self, times: Array) -> tuple[Array, Array]:
        """The bias, and the number of directions whose noise is fitted, at times [R]."""
        bias = np.exp(-2 * np.outer(times, self.nodes)) @ self.energies
        learnt = -np.expm1(-np.outer(times, self.eigenvalues))
        return np.asarray(bias), np.square(learnt).sum(1) + times**2 * self.rest

    def best(self, samples: Sequence[int]) -> Iterator[tuple[float, float]]:
        """For each N the least error over time, and the time: that of the grid, refined by the
        parabola through it and its neighbours in log time. NaN where the best time is beyond 1/l_p:
        the spectrum that is known does not reach as far as descent then learns."""
        times = np.geomspace(1e-2 / self.eigenvalues[0], 1 / self.eigenvalues[-1], TIMES)
        bias, fitted = self._parts(times)
        for n in samples:
            error = bias + self.noise / n * fitted
            at = int(error.argmin())
            if not 0 < at < TIMES - 1:
                yield math.nan, math.nan
                continue
            step = math.log(times[1] / times[0])
            time = float(times[at]) * math.exp(step * _vertex(*error[at - 1 : at + 2]))
            yield float(self.errors(n, np.array([time]))[0]), time


def _vertex(before: float, least: float, after: float) -> float:
    """Where the parabola through three values, at -1, 0 and 1, is least; 0 where they are level.
    The middle one is the least, so it is between -1/2 and 1/2."""
    bend = before - 2 * least + after
    return (before - after) / (2 * bend) if bend > 0 else 0.0


def learning_time(nodes: Array, energies: Array) -> float:
    """The effective time at which descent has found half of a target: where

        sum_i c_i^2 (1 - e^(-eta tau l_i)) = 1/2 sum_i c_i^2,

    the share of the target that the prediction's projection on it is, label noise averaged. nodes
    [q], energies [q]: l_i and c_i^2 of the target, all of it, perhaps by a quadrature. NaN where
    half of it lies where the kernel is 0."""
    shares = energies / energies.sum()

    def missing(log_time: float) -> float:
        return float(shares @ np.exp(-math.exp(log_time) * np.maximum(nodes, 0.0))) - 0.5

    first = math.log(1e-3 / nodes.max())
    last = first + math.log(1e15)
    return math.exp(brentq(missing, first, last)) if missing(last) < 0 else math.nan
