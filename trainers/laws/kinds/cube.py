"""The cube: uniform on [-1, 1]^d."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from trainers.laws.law import BOUNDED, Distribution, FloatArray, LawBase, Points
from trainers.laws.special_functions import truncated_normal, truncated_normal_variance


class Cube(LawBase):
    """Uniform on [-1, 1]^d."""

    sub_gaussian: ClassVar[str] = BOUNDED
    kind: Literal["cube"] = "cube"

    def distribution(self, points: Points) -> Distribution:
        return _UniformOnCube(self.dimension)


class _UniformOnCube(Distribution):
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
