"""Laws of X_0 with known posterior mean f* = E[X_0 | X_t = x] (docs/theory.md, section 8).

| symbol | meaning                                       | shape  | unit |
|--------|-----------------------------------------------|--------|------|
| d      | dimension of X_0                              |        | 1    |
| x      | values of X_t = alpha X_0 + sqrt(h) N(0, I)   | [n, d] | x    |
| alpha  | exp(-1/2 int_0^t g), in [0, 1]                | [n]    | 1    |
| h      | 1 - alpha^2 > 0                               | [n]    | x^2  |
| f*     | E[X_0 \\| X_t = x]                             | [n, d] | x    |

numpy in float64. alpha and h may be scalars. Every formula holds, without underflow to NaN, in
the tails (|x| up to 1e100), for tiny h (1e-12 and below) and for alpha = 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from trainers.errors import LawError
from trainers.problem.atoms_file import checked_points, load_atoms, resolve_atoms
from trainers.problem.csv_file import read_bytes
from trainers.problem.even_points import uniforms
from trainers.problem.mixture_noise import Signal, mean_variance
from trainers.problem.special_functions import (
    bessel_ratio,
    truncated_normal,
    truncated_normal_variance,
)
from trainers.trial import Atoms, Cube, GaussianMixture, Law, Sphere

__all__ = ["Distribution", "LawError", "load_atoms", "make_distribution", "resolve_atoms"]

FloatArray = NDArray[np.float64]

CROWDED = 0.004
"""Where X_t leaves open more than this share of the variance between components, most X_t lie among
several, and draws of X_t measure it better than pairs of components do."""

_BLOCK_BYTES = 2**24
"""Size of the blocks of weights that a mixture works on (one row of weights, if that is more)."""


class Distribution(ABC):
    """A law of X_0 on R^d.

    `second_moment` is E||X_0||^2; ||X_0|| <= `support_radius`, which may be infinite.
    """

    dimension: int
    second_moment: float
    support_radius: float
    uniforms: int
    """Number of uniform variables that `transform` makes one X_0 of."""
    work: int
    """Operations of one posterior variance, roughly."""

    @abstractmethod
    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """n independent draws of X_0, [n, d]."""

    @abstractmethod
    def transform(self, u: FloatArray) -> FloatArray:
        """X_0 [n, d] from uniform u [n, uniforms] in (0, 1), each coordinate of u used once and in
        order: points that fill the cube evenly give draws that fill the law evenly."""

    def posterior_mean(self, x: FloatArray, alpha: ArrayLike, h: ArrayLike) -> FloatArray:
        """f* = E[X_0 | X_t = x] [n, d], for x [n, d] and alpha, h [n].

        Raises ValueError for another shape of x, and for h <= 0 (at t = 0, X_t is X_0).
        """
        return self._posterior_mean(*self._checked(x, alpha, h))

    def posterior_variance(self, x: FloatArray, alpha: ArrayLike, h: ArrayLike) -> FloatArray:
        """E[||X_0 - f*||^2 | X_t = x] [n], the trace of the posterior covariance, as sums of terms
        that are never negative. Raises as `posterior_mean`."""
        return self._posterior_variance(*self._checked(x, alpha, h))

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        """E||X_0 - f*||^2 over X_t and a random time, from n evenly spread points."""
        u = uniforms(n, 1 + self.uniforms + self.dimension, rng)
        alpha, h = signal(u[:, 0])
        x0 = self.transform(u[:, 1 : 1 + self.uniforms])
        noise = special.ndtri(u[:, 1 + self.uniforms :])
        x = alpha[:, None] * x0 + np.sqrt(h)[:, None] * noise
        return float(np.mean(self.posterior_variance(x, alpha, h)))

    def log_marginal(self, x: FloatArray, alpha: ArrayLike, h: ArrayLike) -> FloatArray:
        """log p_t(x) [n], the log-density of X_t, for x [n, d] and alpha, h [n].

        Rounding leaves an absolute error of about 1e-16 ||x||^2 / h. Raises as `posterior_mean`.
        """
        return self._log_marginal(*self._checked(x, alpha, h))

    @abstractmethod
    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        """[n, d], for x [n, d] and a = alpha, h [n, 1]."""

    @abstractmethod
    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        """[n], for x [n, d] and a = alpha, h [n, 1]."""

    @abstractmethod
    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        """[n], for x [n, d] and a = alpha, h [n, 1]."""

    def _checked(
        self, x: FloatArray, alpha: ArrayLike, h: ArrayLike
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x [n, d], and alpha and h as [n, 1]."""
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise ValueError(f"x has shape {x.shape}; it must be [n, {self.dimension}]")
        a, v = (
            np.broadcast_to(np.asarray(value, dtype=np.float64), len(x))[:, np.newaxis]
            for value in (alpha, h)
        )
        if not (v > 0).all():
            raise ValueError("h must be positive: at t = 0 there is nothing to infer, X_t is X_0")
        return x, a, v


def make_distribution(law: Law, atoms: Mapping[str, FloatArray] | None = None) -> Distribution:
    """The distribution that `law` describes.

    `atoms` maps the SHA-256 of a data file to its standardised rows (`load_atoms`), for laws
    from a file; a file that is not in it is read from `law.file`. Raises LawError where
    the file cannot be read, or is not the one that the law was made from.
    """
    if isinstance(law, GaussianMixture):
        shape = (law.components, law.dimension)
        return _Mixture(_parameter_stream(law).uniform(-1, 1, shape), law.std)
    if isinstance(law, Atoms):
        if law.sha256 is not None:
            return _Mixture(_file_atoms(law, atoms or {}), 0.0)
        shape = (law.count, law.dimension)
        return _Mixture(_parameter_stream(law).uniform(-1, 1, shape), 0.0)
    if isinstance(law, Cube):
        return _Cube(law.dimension)
    if isinstance(law, Sphere):
        return _Sphere(law.dimension, law.radius)
    inner = make_distribution(law.inner, atoms)
    normal = _parameter_stream(law).standard_normal((law.dimension, inner.dimension))
    q, r = np.linalg.qr(normal)
    return _Subspace(inner, q * np.where(np.diag(r) < 0, -1.0, 1.0))  # signs: Haar measure


def _file_atoms(law: Atoms, atoms: Mapping[str, FloatArray]) -> FloatArray:
    """The points of a law from a file: from `atoms`, else from the file itself if unchanged."""
    assert law.sha256 is not None
    points = atoms.get(law.sha256)
    if points is None:
        if law.file is None:
            raise LawError(
                f"the data with SHA-256 {law.sha256[:8]}… are not here, and law.file does not say "
                "where: load the spec again"
            )
        points = checked_points(read_bytes(Path(law.file)), law.sha256, law.file)
    if points.shape != (law.count, law.dimension):
        raise LawError(
            f"law.count = {law.count} and law.dimension = {law.dimension}, but the data with "
            f"SHA-256 {law.sha256[:8]}… have shape {points.shape}: use resolve_atoms"
        )
    return np.asarray(points, dtype=np.float64)


def _parameter_stream(law: Any) -> np.random.Generator:
    """The stream of a law's own parameters, apart from other kinds' and from the samples'."""
    kind = tuple(law.kind.encode())
    return np.random.default_rng(np.random.SeedSequence(law.seed, spawn_key=kind))


class _Mixture(Distribution):
    """Equal weights on N(mu_c, std^2 I), mu [K, d]; for std = 0, on the points mu_c themselves.

    Given X_t = x, with v = alpha^2 std^2 + h: component c has probability r_c proportional to
    N(x; alpha mu_c, v I), and f* = (alpha std^2 / v) x + (h / v) sum_c r_c mu_c.
    """

    def __init__(self, means: FloatArray, std: float) -> None:
        count, self.dimension = means.shape
        squares = np.einsum("kd,kd->k", means, means)
        # (mu_c, -|mu_c|^2 / 2), so that one matrix product gives the log-weights below
        self._lifted = np.column_stack([means, -0.5 * squares])
        self._means = self._lifted[:, :-1]
        self._std = std
        self._log_count = float(np.log(count))
        self.uniforms = 1 + (self.dimension if std > 0 else 0)
        self.work = count * self.dimension
        self.second_moment = float(squares.mean()) + self.dimension * std**2
        self.support_radius = float(np.sqrt(squares.max())) if std == 0 else np.inf

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
        for rows, weights, _ in self._weights(x, a, v):
            nearby[rows] = weights @ self._means / weights.sum(axis=1, keepdims=True)
        # std = 0 leaves h / v = 1 exactly: f* is a convex combination of the points
        return (a * self._std**2 / v) * x + (h / v) * nearby

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        # within components, d std^2 h / v, and between them, (h / v)^2 sum_c r_c |mu_c - mean|^2:
        # with m the likeliest mu_c, that sum is sum_c r_c |mu_c - m|^2 - |mean - m|^2, where next
        # to nothing cancels when one component is nearly sure
        v = (a * self._std) ** 2 + h
        between = np.empty(len(x))
        for rows, weights, _ in self._weights(x, a, v):
            weights /= weights.sum(axis=1, keepdims=True)
            between[rows] = _scatter(self._means, weights)
        within = self.dimension * self._std**2 * (h / v)[:, 0]
        return np.asarray(within + (h / v)[:, 0] ** 2 * between)

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        within, between = mean_variance(self._means, self._std, signal, n, rng)
        spread = float(np.square(self._means - self._means.mean(axis=0)).sum(axis=1).mean())
        if between > CROWDED * spread:
            return super().mean_posterior_variance(signal, n, rng)
        return within + between

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        v = (a * self._std) ** 2 + h
        log_sum = np.empty(len(x))
        for rows, weights, log_scale in self._weights(x, a, v):
            log_sum[rows] = np.log(weights.sum(axis=1)) + log_scale
        normal = _log_normal((x * x).sum(axis=1), v, self.dimension)
        return normal + log_sum - self._log_count

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


class _Cube(Distribution):
    """Uniform on [-1, 1]^d: given X_t = x the coordinates are independent truncated normals."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.second_moment = dimension / 3
        self.support_radius = float(np.sqrt(dimension))
        self.uniforms = dimension
        self.work = 5000 * dimension

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return rng.uniform(-1, 1, (n, self.dimension))

    def transform(self, u: FloatArray) -> FloatArray:
        return 2 * u - 1

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return truncated_normal(x, a, h)[0]

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return np.asarray(truncated_normal_variance(x, a, h).sum(axis=1))

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        # density 1/2 on [-1, 1] times the normalisation of N(., h), for each coordinate
        log_density = truncated_normal(x, a, h)[1] - 0.5 * np.log(8 * np.pi * h)
        return np.asarray(log_density.sum(axis=1))


class _Sphere(Distribution):
    """Uniform on the sphere of radius R: given X_t = x, X_0 / R is von Mises-Fisher.

    Its concentration is kappa = alpha R |x| / h; f* = R I_{d/2}(kappa) / I_{d/2-1}(kappa) x / |x|
    (Mardia and Jupp, Directional Statistics, section 9.3.2), R tanh(kappa) sign(x) for d = 1.
    """

    def __init__(self, dimension: int, radius: float) -> None:
        self.dimension = dimension
        self.second_moment = radius**2
        self.support_radius = radius
        self._order = dimension / 2 - 1
        self.uniforms = dimension
        self.work = 500 + dimension

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return self._on_sphere(rng.standard_normal((n, self.dimension)))

    def transform(self, u: FloatArray) -> FloatArray:
        return self._on_sphere(special.ndtri(u))

    def _on_sphere(self, direction: FloatArray) -> FloatArray:
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return self.support_radius * direction

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        # ratio x / |x| written as (ratio / kappa) (alpha R / h) x, which holds at x = 0 too
        per_length = a * self.support_radius / h
        kappa = per_length * np.linalg.norm(x, axis=1, keepdims=True)
        ratio_by_kappa, _ = bessel_ratio(self._order, kappa)
        return self.support_radius * (per_length * x) * ratio_by_kappa

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        kappa = (a * self.support_radius / h)[:, 0] * np.linalg.norm(x, axis=1)
        if self.dimension == 1:  # R^2 / cosh^2(kappa), which 1 - tanh^2 would round away
            small = np.exp(-kappa)
            return np.asarray((2 * self.support_radius * small / (1 + small**2)) ** 2)
        ratio_by_kappa, _ = bessel_ratio(self._order, kappa)
        ratio = kappa * ratio_by_kappa
        return np.asarray(self.support_radius**2 * np.maximum((1 - ratio) * (1 + ratio), 0.0))

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        if self.dimension > 1:
            return super().mean_posterior_variance(signal, n, rng)
        ends = self.support_radius * np.array([[-1.0], [1.0]])
        return sum(mean_variance(ends, 0.0, signal, n, rng))  # two atoms

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        length = np.linalg.norm(x, axis=1)
        radius, v = a[:, 0] * self.support_radius, h[:, 0]
        # the mean of e^{kappa cos} over the sphere is 0F1(; d/2; kappa^2/4)
        _, log_mean = bessel_ratio(self._order, radius * length / v)
        return _log_normal((length - radius) ** 2, h, self.dimension) + log_mean


class _Subspace(Distribution):
    """X_0 = basis Y, Y of law `inner` on R^k, basis [d, k] orthonormal: f*(x) = basis f*_Y(y).

    y = basis^T x is all that x says about Y; the rest of x is N(0, h I) on d - k dimensions.
    """

    def __init__(self, inner: Distribution, basis: FloatArray) -> None:
        self.dimension = len(basis)
        self.second_moment = inner.second_moment
        self.support_radius = inner.support_radius
        self._inner = inner
        self._basis = basis
        self.uniforms = inner.uniforms
        self.work = inner.work

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return self._inner.sample(n, rng) @ self._basis.T

    def transform(self, u: FloatArray) -> FloatArray:
        return self._inner.transform(u) @ self._basis.T

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return self._inner._posterior_mean(x @ self._basis, a, h) @ self._basis.T

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return self._inner._posterior_variance(x @ self._basis, a, h)

    def mean_posterior_variance(self, signal: Signal, n: int, rng: np.random.Generator) -> float:
        return self._inner.mean_posterior_variance(signal, n, rng)

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        y = x @ self._basis
        rest = ((x - y @ self._basis.T) ** 2).sum(axis=1)
        normal = _log_normal(rest, h, self.dimension - self._inner.dimension)
        return self._inner._log_marginal(y, a, h) + normal


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


def _log_normal(square: FloatArray, v: FloatArray, dimension: int) -> FloatArray:
    """log N(.; 0, v I) [n] in `dimension` dimensions, at squared lengths [n], for v [n, 1]."""
    return np.asarray(-0.5 * (square / v[:, 0] + dimension * np.log(2 * np.pi * v[:, 0])))
