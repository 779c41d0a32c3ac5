"""A law embedded in a space of more dimensions: low intrinsic dimension."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from trainers.laws.found import InnerLaw
from trainers.laws.law import (
    Distribution,
    FloatArray,
    LawBase,
    Points,
    log_normal,
    parameter_stream,
)
from trainers.laws.mixture_noise import Signal
from trainers.ranges import Seed


class Subspace(LawBase):
    """`inner`, embedded in R^dimension by a random orthonormal map drawn from `seed`."""

    kind: Literal["subspace"] = "subspace"
    inner: InnerLaw
    seed: Seed = 0

    @model_validator(mode="after")
    def _fits(self) -> Subspace:
        if self.inner.dimension > self.dimension:
            raise ValueError(
                f"law.inner.dimension = {self.inner.dimension} is larger than "
                f"law.dimension = {self.dimension}: the inner law must fit in the space"
            )
        return self

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "inner": self.inner.identity()}

    @property
    def label(self) -> str:
        return f"subspace[dimension={self.inner.dimension},seed={self.seed}]/{self.inner.label}"

    @property
    def terms(self) -> int:
        return self.inner.terms

    @property
    def held_values(self) -> int:
        # the frame, with what its factorisation takes
        return 4 * self.dimension * self.inner.dimension + self.inner.held_values

    def distribution(self, points: Points) -> Distribution:
        inner = self.inner.distribution(points)
        normal = parameter_stream(self).standard_normal((self.dimension, inner.dimension))
        q, r = np.linalg.qr(normal)
        return _Subspace(inner, q * np.where(np.diag(r) < 0, -1.0, 1.0))  # signs: Haar measure


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
        normal = log_normal(rest, h, self.dimension - self._inner.dimension)
        return self._inner._log_marginal(y, a, h) + normal
