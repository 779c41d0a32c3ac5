"""A law of your own: `sample` draws X_0, and is all that it needs.

A study names it as `law: {kind: "MODULE:Mine", dimension: 3, radius: 2}`: all keys but `kind` are
handed to the class. Keep all that decides its numbers in this file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Mine:
    """Points uniform on a sphere of `radius`, and normal noise of standard deviation `noise`."""

    def __init__(self, dimension: int, radius: float = 1.0, noise: float = 0.1) -> None:
        self.dimension, self.radius, self.noise = dimension, radius, noise

    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """n draws of X_0 [n, d], from `rng` alone."""
        normal = rng.standard_normal((n, self.dimension))
        points: NDArray[np.float64] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
        return self.radius * points + self.noise * rng.standard_normal(points.shape)

    # Where you know f* = E[X_0 | X_t = x], with X_t = alpha X_0 + sqrt(h) N(0, I), write it here.
    # Else the law is uniform on 8,192 draws, for which f* is exact. x is [n, d], alpha and h are
    # [n]; of N(0, s^2 I) it is:
    #
    #     def posterior_mean(self, x, alpha, h):
    #         a, h = alpha[:, None], h[:, None]
    #         return a * self.s**2 / (a**2 * self.s**2 + h) * x
