"""The sphere: its place in the suite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from trainers.laws.kinds.sphere import Sphere


def examples(dimension: int) -> list[Sphere]:
    return [Sphere(dimension=dimension, radius=1.5)]


def log_density(
    law: Any, distribution: Any, x: torch.Tensor, alpha: float, h: float
) -> torch.Tensor:
    # a one-dimensional integral over the angle to x
    d, radius = law.dimension, law.radius
    length = x.norm(dim=1, keepdim=True)
    if d == 1:
        cosine, weight = torch.tensor([1.0, -1.0]).double(), torch.ones(2).double()
    else:
        node, gauss = map(torch.from_numpy, np.polynomial.legendre.leggauss(500))
        angle = (node + 1) * math.pi / 2
        cosine, weight = torch.cos(angle), gauss * torch.sin(angle) ** (d - 2)
    squared = length**2 - 2 * alpha * radius * length * cosine + alpha**2 * radius**2
    mixed = torch.logsumexp(torch.log(weight / weight.sum()) - squared / (2 * h), 1)
    return mixed - d / 2 * math.log(2 * math.pi * h)
