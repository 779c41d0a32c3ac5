"""The forward process, and what its times weigh (docs/theory.md, section 1).

| symbol | meaning                                        | shape  | unit |
|--------|------------------------------------------------|--------|------|
| t      | time, in [t_min, t_max]                        | [n]    | time |
| alpha  | exp(-1/2 int_0^t g)                            | [n]    | 1    |
| h      | variance of X_t given X_0, 1 - alpha^2         | [n]    | x^2  |
| x0, x  | X_0, and X_t = alpha X_0 + sqrt(h) N(0, I)     | [n, d] | x    |
| f      | a posterior mean, E[X_0 \\| X_t = x] or estimate | [n, d] | x    |

numpy in float64 throughout. t, alpha and h may also be scalars.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainers.trial import Diffusion, time_bin_edges

FloatArray = NDArray[np.float64]


def rate(diffusion: Diffusion, t: ArrayLike) -> FloatArray:
    """g(t), same shape as t."""
    t = np.asarray(t, dtype=np.float64)
    return np.asarray(diffusion.g_min + _slope(diffusion) * t)


def _slope(diffusion: Diffusion) -> float:
    if diffusion.schedule == "constant":
        return 0.0
    assert diffusion.g_max is not None  # Diffusion's own validation
    return (diffusion.g_max - diffusion.g_min) / diffusion.t_max


def integrated_rate(diffusion: Diffusion, t: ArrayLike) -> FloatArray:
    """int_0^t g(s) ds, same shape as t."""
    t = np.asarray(t, dtype=np.float64)
    return np.asarray(t * (diffusion.g_min + 0.5 * _slope(diffusion) * t))


def time_of_rate(diffusion: Diffusion, integral: ArrayLike) -> FloatArray:
    """The t at which int_0^t g(s) ds is `integral`, same shape."""
    integral = np.asarray(integral, dtype=np.float64)
    root = np.sqrt(diffusion.g_min**2 + 2 * _slope(diffusion) * integral)
    return np.asarray(2 * integral / (diffusion.g_min + root))


def alpha(diffusion: Diffusion, t: ArrayLike) -> FloatArray:
    """exp(-1/2 int_0^t g), same shape as t."""
    return np.asarray(np.exp(-0.5 * integrated_rate(diffusion, t)))


def h(diffusion: Diffusion, t: ArrayLike) -> FloatArray:
    """1 - alpha^2 = -expm1(-int_0^t g), same shape as t; keeps its relative accuracy at tiny t."""
    return np.asarray(-np.expm1(-integrated_rate(diffusion, t)))


def sample_times(diffusion: Diffusion, n: int, rng: np.random.Generator) -> FloatArray:
    """n independent times t ~ U[t_min, t_max], shape [n]."""
    return rng.uniform(diffusion.t_min, diffusion.t_max, size=n)


def forward_sample(
    diffusion: Diffusion, x0: FloatArray, t: ArrayLike, rng: np.random.Generator
) -> FloatArray:
    """X_t given X_0 = x0 [n, d] at times t [n]: N(alpha x0, h I), shape [n, d]."""
    return diffuse(diffusion, x0, t, rng.standard_normal(x0.shape))


def diffuse(diffusion: Diffusion, x0: FloatArray, t: ArrayLike, noise: FloatArray) -> FloatArray:
    """X_t of X_0 = x0 [n, d] at times t [n] and standard normal noise [n, d], shape [n, d]."""
    return _column(alpha(diffusion, t)) * x0 + np.sqrt(_column(h(diffusion, t))) * noise


def unweighted_factor(alpha: ArrayLike, h: ArrayLike) -> FloatArray:
    """alpha^2 / h^2 [n] = 1/lambda: ||s_f - score||^2 = unweighted_factor ||f - f*||^2."""
    return np.asarray((np.asarray(alpha, dtype=np.float64) / np.asarray(h, dtype=np.float64)) ** 2)


def time_bin(diffusion: Diffusion, t: ArrayLike) -> NDArray[np.intp]:
    """Index 0..TIME_BINS-1 of the bin [edge_i, edge_{i+1}) that holds t; t_max is in the last.

    The edges are `trial.time_bin_edges`. Raises ValueError for t outside [t_min, t_max].
    """
    t = np.asarray(t, dtype=np.float64)
    edges = np.asarray(time_bin_edges(diffusion))
    outside = ~((t >= edges[0]) & (t <= edges[-1]))  # true for NaN too
    if outside.any():
        raise ValueError(
            f"t = {t[outside].flat[0]:g} has no time bin: the diffusion's times are "
            f"[{edges[0]:g}, {edges[-1]:g}]"
        )
    return np.asarray(np.searchsorted(edges[1:-1], t, side="right"))


def _column(value: ArrayLike) -> FloatArray:
    """[n] -> [n, 1]; a scalar -> [1]. Both broadcast against [n, d]."""
    return np.asarray(value, dtype=np.float64)[..., np.newaxis]
