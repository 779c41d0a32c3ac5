"""Packed descents and the plain loop that they must agree with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from trainers.network.gradient_descent import Batch, Problem, Record, descend
from trainers.network.passes import BLOCKED, fused_passes
from trainers.network.sign_groups import grouped_passes
from trainers.trial import recorded_steps

CPU = torch.device("cpu")
STEPS = recorded_steps(60, 12)
PATHS = {
    "fused": lambda d: fused_passes(False),
    "fused_bias": lambda d: fused_passes(True),
    "grouped": lambda d: grouped_passes(False, d),
    "grouped_bias": lambda d: grouped_passes(True, d),
    "blocked": lambda d: BLOCKED,
}


def problem(n: int, m: int, d: int = 2, eta: float = 0.7, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    k = d + 2
    z = np.concatenate([rng.normal(size=(n, d + 1)), np.ones((n, 1))], axis=1)
    x0 = rng.uniform(-1, 1, size=(n, d))
    w, a = rng.normal(size=(k, m)), rng.choice([-1.0, 1.0], size=(d, m))
    z_eval = np.concatenate([rng.normal(size=(9, d + 1)), np.ones((9, 1))], axis=1)
    return Problem(z, x0, w, a, z_eval, eta)


def reference(p: Problem, steps: list[int]) -> dict[str, np.ndarray]:
    """docs/theory.md, section 3, as one reads it: a loop over steps in plain numpy, float64."""
    w, (n, m) = p.w.copy(), (len(p.z), p.w.shape[1])
    out: dict[str, list[Any]] = {"predictions": [], "loss": [], "displacement": [], "flips": []}
    for step in range(steps[-1] + 1):
        pre = p.z @ w
        residual = (np.maximum(pre, 0) @ p.a.T) / np.sqrt(m) - p.x0
        if step in steps:
            out["predictions"].append((np.maximum(p.z_eval @ w, 0) @ p.a.T / np.sqrt(m)).T)
            out["loss"].append((residual**2).sum() / (2 * n))
            out["displacement"].append(np.sqrt(((w - p.w) ** 2).sum()))
            out["flips"].append(np.mean((pre > 0) != (p.z @ p.w > 0)))
        gradient = p.z.T @ ((residual @ p.a) * (pre > 0)) / (np.sqrt(m) * n)
        w = w - p.step_size * gradient
    return {name: np.array(values) for name, values in out.items()}


def run(problems: list[Problem], path: str, dtype: torch.dtype = torch.float64) -> list[Record]:
    passes = PATHS[path](len(problems[0].a))
    batch = Batch.pack(problems, dtype, CPU, passes.grouped)
    return list(descend(batch, STEPS, passes))
