"""Atoms: their place in the suite. Those of a file: test_atoms_file.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from trainers.laws.kinds.atoms import Atoms


def examples(dimension: int) -> list[Atoms]:
    return [Atoms(dimension=dimension, count=12, seed=3)]


def log_density(
    law: Any, distribution: Any, x: torch.Tensor, alpha: float, h: float
) -> torch.Tensor:
    means = torch.from_numpy(np.ascontiguousarray(distribution._means))
    squared = ((x[:, None] - alpha * means) ** 2).sum(2)
    normals = -squared / (2 * h) - law.dimension / 2 * math.log(2 * math.pi * h)
    return torch.logsumexp(normals, 1) - math.log(len(means))
