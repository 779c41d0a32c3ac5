"""The posterior variance of a mixture, averaged over X_t, as a sum over pairs of components.

Given X_t = x, component c of N(mu_c, std^2 I) has probability r_c, and with v = alpha^2 std^2 + h

    E[||X_0 - f*||^2 | x] = d std^2 h / v + (h / v)^2 sum_c r_c |mu_c - mean|^2.

Where components lie far apart, the last sum is carried by rare x between two of them, which draws
of X_t never meet. Its mean is therefore taken pair by pair: it is (1/2) sum_ck r_c r_k D^2 with D
the distance of mu_c and mu_k. The densities N_c and N_k of x in the two multiply to s^2 N_mid^2,
N_mid the density of N(alpha (mu_c + mu_k) / 2, v I) and s = exp(-alpha^2 D^2 / 8v); hence

    E sum_c r_c |mu_c - mean|^2 = 1/(2K) sum_ck D^2 s E_mid[ s N_mid / sum_j N_j ],

where the last expectation is of a number between 0 and 1/2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trainers.laws.even_points import uniforms

Array = NDArray[np.float64]

Signal = Callable[[Array], tuple[Array, Array]]
"""alpha and h [n] of uniform u [n], which tells the time."""

_BLOCK_BYTES = 2**24


def mean_variance(
    means: Array, std: float, signal: Signal, n: int, rng: np.random.Generator
) -> tuple[float, float]:
    """E||X_0 - f*||^2 over X_t and a random time, within components and between them, for means
    [K, d], from n points.

    Times and c are spread evenly, then resampled in proportion to what they add; k follows D^2 s.
    The offset of x along mu_c - mu_k, which decides most, has a coordinate of its own.
    """
    (count, d), u = means.shape, uniforms(n, 2, rng)
    alpha, h = signal(u[:, 0])
    v = (alpha * std) ** 2 + h
    within = float(d * std**2 * np.mean(h / v))
    first = np.minimum((u[:, 1] * count).astype(np.intp), count - 1)
    added = np.empty(n)
    for rows, pairs in _pairs(means, first, alpha, v):
        added[rows] = (h[rows] / v[rows]) ** 2 * pairs.sum(axis=1)
    if not added.sum() > 0:  # one component, or none within reach of another
        return within, 0.0
    order = np.argsort(u[:, 0], kind="stable")
    reached = np.cumsum(added[order])
    at = np.searchsorted(reached, (np.arange(n) + rng.random()) / n * reached[-1])
    chosen = order[np.minimum(at, n - 1)]
    alpha, v, first = alpha[chosen], v[chosen], first[chosen]
    u = uniforms(n, 2 + d, rng)
    second = np.empty(n, dtype=np.intp)
    for rows, pairs in _pairs(means, first, alpha, v):
        below = np.cumsum(pairs, axis=1)
        second[rows] = (below < u[rows, :1] * below[:, -1:]).sum(axis=1)
    ratio = _ratio(means, first, np.minimum(second, count - 1), alpha, v, u)
    between = 0.5 * float(np.mean(added)) * float(np.mean(ratio))
    return within, between


def _pairs(
    means: Array, first: NDArray[np.intp], alpha: Array, v: Array
) -> Iterator[tuple[slice, Array]]:
    """Rows, and D^2 s [rows, K] of the component `first` with every other."""
    squares = np.einsum("kd,kd->k", means, means)
    for rows in blocks(len(first), len(means)):
        mine = first[rows]
        square = squares[mine, None] + squares - 2 * means[mine] @ means.T
        square[np.arange(len(mine)), mine] = 0.0
        np.maximum(square, 0.0, out=square)
        yield rows, square * np.exp(-(alpha[rows] ** 2 / (8 * v[rows]))[:, None] * square)


def _ratio(
    means: Array,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    alpha: Array,
    v: Array,
    u: Array,
) -> Array:
    """s N_mid / sum_j N_j [n] at a draw of N_mid for each pair, from uniforms u [n, 2 + d]."""
    apart = means[first] - means[second]
    length = np.linalg.norm(apart, axis=1)
    unit = apart / np.where(length > 0, length, 1.0)[:, None]
    along, noise = special.ndtri(u[:, 1]), special.ndtri(u[:, 2:])
    noise += (along - np.einsum("nd,nd->n", noise, unit))[:, None] * unit
    scale = np.sqrt(v)
    # from mu_c, in units of sqrt(v) / alpha: differences of means, so that no large square cancels
    x = scale[:, None] * noise - (alpha / 2)[:, None] * apart
    log_first = alpha * length * along / (2 * scale)  # log of N_c / (s N_mid) at x
    ratio = np.empty(len(first))
    squares = np.einsum("kd,kd->k", means, means)
    for rows in blocks(len(first), len(means)):
        mine = first[rows]
        a, own = alpha[rows][:, None], means[mine]
        inner = x[rows] @ means.T - np.einsum("nd,nd->n", x[rows], own)[:, None]
        square = squares[mine, None] + squares - 2 * own @ means.T
        log_others = (a * inner - a**2 / 2 * square) / v[rows][:, None]  # of N_j / N_c
        log_others[np.arange(len(mine)), mine] = 0.0
        ratio[rows] = np.exp(-special.logsumexp(log_others, axis=1) - log_first[rows])
    return ratio


def blocks(n: int, width: int) -> Iterator[slice]:
    """The rows 0..n in slices whose weights [rows, width] take some megabytes at most."""
    size = max(1, _BLOCK_BYTES // (8 * width))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
