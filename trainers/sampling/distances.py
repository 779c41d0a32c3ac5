"""How far samples are from draws of a law (docs/theory.md, section 14.3).

| symbol | meaning                                                              | shape  |
|--------|----------------------------------------------------------------------|--------|
| x, y   | two sets of points                                                   | [n, d] |
| D      | 2 E||X - Y|| - E||X - X'|| - E||Y - Y'||, the energy distance        |        |
| W      | E_theta W_2(theta . X, theta . Y)^2, to the power 1/2: sliced        |        |
|        | Wasserstein, over directions theta on the sphere                     |        |

D is 0 between equal laws and positive else (Szekely and Rizzo 2013). Means leave out a point's
distance to itself, so D is estimated without bias and may be negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist, pdist

DIRECTIONS = 64
"""Directions of the sliced Wasserstein distance."""

NEIGHBOUR = 5
"""k of the nearest neighbours that tell densities."""

Array = NDArray[np.float64]


def energy_distance(x: Array, y: Array) -> float:
    """D of x [n, d] and y [m, d]; NaN where one is a single point."""
    if min(len(x), len(y)) < 2:
        return float("nan")
    return float(2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean())


def directions(dimension: int, rng: np.random.Generator, count: int = DIRECTIONS) -> Array:
    """Unit vectors [count, d]; at d = 1 the only one."""
    if dimension == 1:
        return np.ones((1, 1))
    drawn = rng.standard_normal((count, dimension))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def sliced_wasserstein(x: Array, y: Array, theta: Array) -> float:
    """W of x and y [n, d], as many of each, over directions theta [L, d]; NaN of no points."""
    if not len(x):
        return float("nan")
    projected = (np.sort(points @ theta.T, axis=0) for points in (x, y))
    a, b = projected
    return float(np.sqrt(np.square(a - b).mean()))


def neighbour_divergence(x: Array, y: Array) -> float:
    """KL(law of x || law of y), estimated from points x [n, d] and y [m, d] by the distances to the
    k-th neighbour in each (Wang, Kulkarni and Verdu 2009): d/n sum_i log(nu_i / rho_i) +
    log(m / (n - 1)). It needs densities: inf where a point of x lies k times in y, say."""
    rho = _distances(x, x, NEIGHBOUR + 1)[:, -1]  # a point is its own nearest
    nu = _distances(y, x, NEIGHBOUR)[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(nu / rho)
    return float(x.shape[1] * ratios.mean() + np.log(len(y) / (len(x) - 1)))


def share_memorized(samples: Array, points: Array) -> float:
    """f_mem: the share of `samples` [n, d] whose nearest of the training's clean `points` [N, d] is
    closer than 1/3 of the second nearest (Yoon et al. 2023). A point that is there several times
    counts once, or it would be as near as itself. NaN for a single point."""
    distinct = np.unique(points, axis=0)
    if len(distinct) < 2:
        return float("nan")
    near = _distances(distinct, samples, 2)
    return float(np.mean(near[:, 0] < near[:, 1] / 3))


def _distances(points: Array, at: Array, count: int) -> Array:
    """From `at` [n, d] to the `count` nearest of `points`, rising, [n, count]."""
    return np.asarray(cKDTree(points).query(at, count)[0], dtype=np.float64)
