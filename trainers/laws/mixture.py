"""The mixture of normals of one width, which `gaussian_mixture` and `atoms` share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import special

from trainers.laws.law import Distribution, FloatArray, log_normal
from trainers.laws.mixture_noise import Signal, mean_variance

CROWDED = 0.004
"""Where X_t leaves open more than this share of the variance between components, most X_t lie among
several, and draws of X_t measure it better than pairs of components do."""

FAR = 1e3
"""Where the mean lies so many times farther from 0 than X_0 from it, all is computed about the
mean: squares of the centres would drown what tells them apart."""

_BLOCK_BYTES = 2**24
"""Size of the blocks of weights that a mixture works on (one row of weights, if that is more)."""


class MixtureOfNormals(Distribution):
    """Equal weights on N(mu_c, std^2 I), mu [K, d]; for std = 0, on the points mu_c themselves.

    Given X_t = x, with v = alpha^2 std^2 + h: component c has probability r_c proportional to
    N(x; alpha mu_c, v I), and f* = (alpha std^2 / v) x + (h / v) sum_c r_c mu_c.
    """

    def __init__(self, means: FloatArray, std: float) -> None:
        count, self.dimension = means.shape
        squares = np.einsum("kd,kd->k", means, means)
        centre = means.mean(axis=0)
        spread = float(np.square(means - centre).sum(axis=1).mean()) + self.dimension * std**2
        far = float(centre @ centre) > FAR**2 * spread
        # where it is not, nothing is subtracted: the numbers of ordinary laws stay as they are
        self._centre = centre if far else None
        about = means - centre if far else means
        # (mu_c, -|mu_c|^2 / 2), so that one matrix product gives the log-weights below
        self._lifted = np.column_stack([about, -0.5 * np.einsum("kd,kd->k", about, about)])
        self._about = self._lifted[:, :-1]
        self._means = means if far else self._about
        self._std = std
        self._log_count = float(np.log(count))
        self.uniforms = 1 + (self.dimension if std > 0 else 0)
        self.work = count * self.dimension
        self.second_moment = float(squares.mean()) + self.dimension * std**2
        self.support_radius = float(np.sqrt(squares.max())) if std == 0 else np.inf

    @property
    def means(self) -> FloatArray:
        """The centres [K, d], of equal weights."""
        return self._means

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        x0 = self._means[rng.integers(len(self._means), size=n)]
        if self._std > 0:
            x0 = x0 + self._std * rng.standard_normal(x0.shape)
        return x0

    def transform(self, u: FloatArray) -> FloatArray:
        count = len(self._means)
        x0 = self._means[np.minimum((u[:, 0] * count).astype(np.intp), count - 1)]
        return x0 + self._std * special.ndtri(u[:, 1:]) if self._std > 0 else x0

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        v = (a * self._std) ** 2 + h
        nearby = np.empty(x.shape)
        for rows, weights, _ in self._weights(self._moved(x, a), a, v):
            nearby[rows] = weights @ self._about / weights.sum(axis=1, keepdims=True)
        if self._centre is not None:
            nearby += self._centre
        # std = 0 leaves h / v = 1 exactly: f* is a convex combination of the points
        return (a * self._std**2 / v) * x + (h / v) * nearby

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        # within components, d std^2 h / v, and between them, (h / v)^2 sum_c r_c |mu_c - mean|^2:
        # with m the likeliest mu_c, that sum is sum_c r_c |mu_c - m|^2 - |mean - m|^2, where next
        # to nothing cancels when one component is nearly sure
        v = (a * self._std) ** 2 + h
        between = np.empty(len(x))
        for rows, weights, _ in self._weights(self._moved(x, a), a, v):
            weights /= weights.sum(axis=1, keepdims=True)
            between[rows] = _scatter(self._about, weights)
        within = self.dimension * self._std**2 * (h / v)[:, 0]
        return np.asarray(within + (h / v)[:, 0] ** 2 * between)

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        within, between = mean_variance(self._about, self._std, signal, n, rng)
        spread = float(np.square(self._about - self._about.mean(axis=0)).sum(axis=1).mean())
        if between > CROWDED * spread:
            return super().mean_posterior_variance(signal, n, rng)
        return within + between

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        v, x = (a * self._std) ** 2 + h, self._moved(x, a)
        log_sum = np.empty(len(x))
        for rows, weights, log_scale in self._weights(x, a, v):
            log_sum[rows] = np.log(weights.sum(axis=1)) + log_scale
        normal = log_normal((x * x).sum(axis=1), v, self.dimension)
        return normal + log_sum - self._log_count

    def _moved(self, x: FloatArray, a: FloatArray) -> FloatArray:
        """x [n, d] less alpha times what was subtracted from the centres."""
        return x if self._centre is None else x - a * self._centre

    def _weights(
        self, x: FloatArray, a: FloatArray, v: FloatArray
    ) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
        """Rows, r_c [rows, K] up to a factor that makes the largest 1, and the factor's -log.

        The logs are (alpha x . mu_c - alpha^2 |mu_c|^2 / 2) / v: |x|^2 is left out, as it is
        common to all c and would drown their differences in the tails.
        """
        size = max(1, _BLOCK_BYTES // (8 * len(self._means)))
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            weights = np.hstack([x[rows], a[rows]]) * (a[rows] / v[rows]) @ self._lifted.T
            log_scale = weights.max(axis=1, keepdims=True)
            weights -= log_scale
            np.exp(weights, out=weights)
            yield rows, weights, log_scale[:, 0]


def _scatter(points: FloatArray, weights: FloatArray) -> FloatArray:
    """sum_c r_c |p_c - mean|^2 [n], of points p [K, d] with rows of weights r [n, K] that sum to 1.

    Where a point has most of the weight, the others' weights are small numbers of full relative
    accuracy, and so is the sum over them: its distance to the mean is the square of small numbers.
    """
    top = np.argmax(weights, axis=1)
    squares = np.einsum("kd,kd->k", points, points)
    distances = np.maximum(squares + squares[top, None] - 2 * points[top] @ points.T, 0.0)
    distances[np.arange(len(top)), top] = 0.0
    away = np.einsum("nk,nk->n", weights, distances)
    weights[np.arange(len(top)), top] = 0.0
    shift = weights @ points - weights.sum(axis=1, keepdims=True) * points[top]
    return np.asarray(np.maximum(away - np.einsum("nd,nd->n", shift, shift), 0.0))
