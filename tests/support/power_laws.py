"""Planted power laws."""

from __future__ import annotations

import numpy as np

X = np.array([64.0, 128, 256, 512, 1024, 2048, 4096])


def sample(
    seeds: int, sigma: float, b: float = 0.5, random_seed: int = 0, floor: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(random_seed)
    mean = X**-b + floor * X[-1] ** -b
    y = mean * np.exp(sigma * rng.standard_normal((seeds, len(X))))
    return np.tile(X, seeds), y.ravel(), np.repeat(np.arange(seeds), len(X))
