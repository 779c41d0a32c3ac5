"""The test set's own error: a part of every interval that no number of seeds makes smaller.

All trials of a law measure their errors on the same test points, so what those points happen to be
moves every level of a curve together, and the scatter between seeds does not show it. The points
come in K groups drawn apart from each other, all alike (`trainers.problem.test_points`). Leaving
out one group at a time gives the delete-a-group jackknife (Shao and Tu 1995, section 2.3): with
e_k the estimate without group k, the variance is (K - 1)/K sum_k (e_k - mean e)^2, with K - 1
degrees of freedom. It is added to the variance over seeds, with Satterthwaite's degrees of freedom
for the sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TestSet:
    """The test set's part of a fitted exponent: its standard error, from so many groups of test
    points, and its share of the whole variance."""

    __test__ = False

    groups: int
    error: float
    share: float


def scores(where: NDArray[np.int64], without: Array, geometric: bool = False) -> Array:
    """Each group's share of the error of the log level means [K, L], geometric ones where said.

    without: values as they are without each group [n, K]; where: their level [n]. The squares of
    a contrast of the rows add up to the contrast's variance.
    """
    return spread(log_sums(where, without, geometric))


def log_sums(where: NDArray[np.int64], without: Array, geometric: bool = False) -> Array:
    """Logs of the sums over each level's values without each group [K, L]; of geometric means,
    these themselves."""
    levels, groups = int(where.max()) + 1, without.shape[1]
    if geometric:
        mean = np.zeros((levels, groups))
        np.add.at(mean, where, np.log(without) / np.bincount(where)[where, None])
        return mean.T
    # relative to the largest value, so that no scale overflows
    top = np.zeros(levels)
    np.maximum.at(top, where, without.max(axis=1))
    total = np.zeros((levels, groups))
    np.add.at(total, where, without / top[where, None])
    return np.asarray(np.log(total).T)


def spread(log_mean: Array) -> Array:
    """Each group's share of the error of log level means [K, L], known without each group up to a
    constant a level."""
    groups = len(log_mean)
    return np.asarray((log_mean - log_mean.mean(axis=0)) * np.sqrt((groups - 1) / groups))


def together(variance: float, freedom: float, c: Array, rows: Array) -> tuple[float, float]:
    """The variance of a contrast c [L] over seeds and test points, and its degrees of freedom."""
    each = rows @ c
    own, spare = float(each @ each), len(rows) - 1
    total = variance + own
    below = variance**2 / freedom + own**2 / spare
    return total, total**2 / below if below > 0 else freedom
