"""The Gaussian whose modes have variances that fall as a power: f* is linear.

Given X_t = x the modes are independent, and mode i of variance v_i is shrunk by itself:
f*_i = alpha v_i x_i / (alpha^2 v_i + h), of posterior variance v_i h / (alpha^2 v_i + h).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import special

from trainers.laws.law import Distribution, FloatArray, LawBase, Points
from trainers.ranges import Scale


class Gaussian(LawBase):
    """N(0, diag(v)), v_i = std^2 i^-power for i = 1..d: along the axes, as no part of the problem
    prefers a direction."""

    sub_gaussian: ClassVar[str] = "Gaussian"
    kind: Literal["gaussian"] = "gaussian"
    power: Annotated[float, Field(ge=0, le=8)] = 1.0
    std: Scale = 1.0

    @property
    def variances(self) -> FloatArray:
        """v [d], falling."""
        return self.std**2 * np.arange(1.0, self.dimension + 1) ** -self.power

    @property
    def mode_variances(self) -> tuple[float, ...]:
        return tuple(self.variances.tolist())

    def distribution(self, points: Points) -> Distribution:
        return _IndependentNormals(self.variances)


class _IndependentNormals(Distribution):
    """N(0, diag(v)), v [d]."""

    def __init__(self, v: FloatArray) -> None:
        self.dimension = self.uniforms = self.work = len(v)
        self.second_moment = float(v.sum())
        self.support_radius = np.inf
        self._v = v

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        return np.sqrt(self._v) * rng.standard_normal((n, self.dimension))

    def transform(self, u: FloatArray) -> FloatArray:
        return np.asarray(np.sqrt(self._v) * special.ndtri(u))

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return a * self._v / (a**2 * self._v + h) * x

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        return np.asarray((self._v * h / (a**2 * self._v + h)).sum(axis=1))

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        v = a**2 * self._v + h
        return np.asarray(-0.5 * (x * x / v + np.log(2 * np.pi * v)).sum(axis=1))
