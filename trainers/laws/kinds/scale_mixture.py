"""The scale mixture: normals of many widths at one centre, with heavy tails.

Given X_t = x, with v_c = alpha^2 s_c^2 + h: width s_c has probability r_c proportional to
N(x; 0, v_c I), and f* = x sum_c r_c alpha s_c^2 / v_c.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy import special

from trainers.laws.law import Distribution, FloatArray, LawBase, Points, log_normal
from trainers.laws.mixture_noise import blocks
from trainers.ranges import Scale


class ScaleMixture(LawBase):
    """sum_c N(0, s_c^2 I) / components, widths s_c log-spaced from std_min to std_max.

    Between the two lengths ||X_0|| is close to log-uniform: no scale of its own, and a tail that is
    Gaussian beyond std_max alone.
    """

    sub_gaussian: ClassVar[str] = "finitely many Gaussians"
    kind: Literal["scale_mixture"] = "scale_mixture"
    components: Annotated[int, Field(ge=2, le=1024)] = 8
    std_min: Scale = 0.05
    std_max: Scale = 1.0

    @model_validator(mode="after")
    def _rises(self) -> ScaleMixture:
        if self.std_min > self.std_max:
            raise ValueError(
                f"law.std_min = {self.std_min:g} must not be above law.std_max = {self.std_max:g}"
            )
        return self

    @property
    def terms(self) -> int:
        return self.components

    @property
    def held_values(self) -> int:
        return self.components

    def distribution(self, points: Points) -> Distribution:
        return _NormalsOfManyWidths(
            self.dimension, np.geomspace(self.std_min, self.std_max, self.components)
        )


class _NormalsOfManyWidths(Distribution):
    """Equal weights on N(0, s_c^2 I), widths s [K]."""

    def __init__(self, dimension: int, widths: FloatArray) -> None:
        self.dimension = dimension
        self.second_moment = dimension * float(np.mean(widths**2))
        self.support_radius = np.inf
        self.uniforms = 1 + dimension
        self.work = 10 * len(widths) + dimension
        self._widths = widths

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        chosen = self._widths[rng.integers(len(self._widths), size=n)]
        return chosen[:, np.newaxis] * rng.standard_normal((n, self.dimension))

    def transform(self, u: FloatArray) -> FloatArray:
        count = len(self._widths)
        chosen = self._widths[np.minimum((u[:, 0] * count).astype(np.intp), count - 1)]
        return np.asarray(chosen[:, np.newaxis] * special.ndtri(u[:, 1:]))

    def _posterior_mean(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        shrunk = np.empty(x.shape)
        for rows in blocks(len(x), len(self._widths)):
            weights, gains, _ = self._given(x[rows], a[rows], h[rows])
            shrunk[rows] = (weights * gains).sum(axis=1, keepdims=True) * x[rows]
        return shrunk

    def _posterior_variance(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        # within widths, d s^2 h / v, and between them, |x|^2 times the variance of alpha s^2 / v
        variance = np.empty(len(x))
        for rows in blocks(len(x), len(self._widths)):
            weights, gains, v = self._given(x[rows], a[rows], h[rows])
            within = (weights * (self._widths**2 * h[rows] / v)).sum(axis=1)
            apart = gains - (weights * gains).sum(axis=1, keepdims=True)
            between = (x[rows] ** 2).sum(axis=1) * (weights * apart**2).sum(axis=1)
            variance[rows] = self.dimension * within + between
        return variance

    def _log_marginal(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        log_density = log_normal(
            (x * x).sum(axis=1), (a * self._widths[-1]) ** 2 + h, self.dimension
        )
        for rows in blocks(len(x), len(self._widths)):
            ratios = self._log_ratios(x[rows], a[rows], h[rows])
            log_density[rows] += special.logsumexp(ratios, axis=1) - np.log(ratios.shape[1])
        return log_density

    def _given(
        self, x: FloatArray, a: FloatArray, h: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """r_c, alpha s_c^2 / v_c and v_c, each [n, K]."""
        v = (a * self._widths) ** 2 + h
        return special.softmax(self._log_ratios(x, a, h), axis=1), a * self._widths**2 / v, v

    def _log_ratios(self, x: FloatArray, a: FloatArray, h: FloatArray) -> FloatArray:
        """log N(x; 0, v_c I) [n, K] less that of the widest: in the tails the large squares that
        all have in common would drown their differences."""
        squares = self._widths**2
        v = a**2 * squares + h
        widest = v[:, -1:]
        precision = a**2 * (squares[-1] - squares) / (v * widest)  # 1 / v_c - 1 / v_widest
        length2 = (x * x).sum(axis=1, keepdims=True)
        return np.asarray(-0.5 * (self.dimension * np.log(v / widest) + length2 * precision))
