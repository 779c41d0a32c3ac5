"""The Gaussian mixture: its place in the suite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from trainers.laws.kinds.gaussian_mixture import GaussianMixture


def examples(dimension: int) -> list[GaussianMixture]:
    return [
        GaussianMixture(dimension=dimension, seed=1),
        GaussianMixture(dimension=dimension, components=1, std=0.7, seed=2),
    ]


def log_density(
    law: Any, distribution: Any, x: torch.Tensor, alpha: float, h: float
) -> torch.Tensor:
    means = torch.from_numpy(np.ascontiguousarray(distribution._means))
    v = alpha**2 * law.std**2 + h
    squared = ((x[:, None] - alpha * means) ** 2).sum(2)
    normals = -squared / (2 * v) - law.dimension / 2 * math.log(2 * math.pi * v)
    return torch.logsumexp(normals, 1) - math.log(len(means))
