"""The sphere: uniform on the points of one length."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from scipy import special

from trainers.laws.law import BOUNDED, Distribution, FloatArray, LawBase, Points, log_normal
from trainers.laws.mixture_noise import Signal, mean_variance
from trainers.laws.special_functions import bessel_ratio
from trainers.ranges import Scale


class Sphere(LawBase):
    """Uniform on the sphere of `radius` in R^d; for d = 1 the two points -radius and radius."""

    sub_gaussian: ClassVar[str] = BOUNDED
    kind: Literal["sphere"] = "sphere"
    radius: Scale = 1.0

    def distribution(self, points: Points) -> Distribution:
        return _UniformOnSphere(self.dimension, self.radius)


class _UniformOnSphere(Distribution):
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
        return log_normal((length - radius) ** 2, h, self.dimension) + log_mean
