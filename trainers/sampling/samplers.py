"""The reverse process from T to T_0, by networks or by the true score (docs/theory.md, 14.2).

| symbol  | meaning                                                         | shape     | unit |
|---------|-----------------------------------------------------------------|-----------|------|
| y       | the samples, at time t of the forward process                   | [B, n, d] | x    |
| t_i     | the grid, from T down to T_0                                    | [S + 1]   | time |
| l       | int_{t_(i+1)}^{t_i} g(s) ds, the length of a step               |           | 1    |
| f       | an estimate of E[X_0 | X_t]                                     | [B, n, d] | x    |
| s       | its score, (alpha_t f - y) / h_t                                | [B, n, d] | 1/x  |
| xi      | standard normal, of a generator for each network                | [B, n, d] | 1    |

In the time l the forward process is dX = -X/2 dl + dB, whatever g is, so that its reverse is
dY = (Y/2 + s) dl + dB, and the probability flow dY = (Y + s)/2 dl (Song et al. 2021). A step:

- `euler_maruyama`: y + l (y/2 + s) + l^(1/2) xi. Weak order 1.
- `exponential`: e^(l/2) y + 2 (e^(l/2) - 1) s + (e^l - 1)^(1/2) xi: exact but for s, which stays
  what it is at t_i (Chen et al. 2023). Weak order 1.
- `heun`: the flow by Heun's method, two scores a step (Karras et al. 2022). Order 2.
- `flow`: the flow to a tolerance, by scipy's RK45, on the host.

f is asked at every t_i but the last; `heun` asks there too. float64; randomness from the generator
alone, in the order of the grid, so it is the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from trainers.kept.keep import SAMPLE_STEPS, Grid, Sampler
from trainers.laws import Distribution
from trainers.problem import diffusion as forward
from trainers.trial import Diffusion

TOLERANCE = 1e-6
"""Relative and absolute, of `flow`."""

Array = NDArray[np.float64]
Predictor = Callable[[Tensor, float], Tensor]
"""f at y [B, n, d] and a time: a `trainers.kept.networks.Networks`, or `true_predictor`."""


def time_grid(diffusion: Diffusion, steps: int, kind: Grid = "log") -> Array:
    """The times [steps + 1] from T down to T_0, uniform in t or in log t."""
    space = np.geomspace if kind == "log" else np.linspace
    grid = np.asarray(space(diffusion.t_max, diffusion.t_min, steps + 1))
    grid[0], grid[-1] = diffusion.t_max, diffusion.t_min
    return grid


def true_predictor(distribution: Distribution, diffusion: Diffusion) -> Predictor:
    """f* of a law: what the same sampler gives with it, discretisation alone has cost."""

    def predict(y: Tensor, t: float) -> Tensor:
        x = y.cpu().numpy().reshape(-1, y.shape[-1])
        alpha, h = forward.alpha(diffusion, t), forward.h(diffusion, t)
        f = distribution.posterior_mean(x, alpha, h)
        return torch.as_tensor(f.reshape(y.shape), device=y.device)

    return predict


def exact_draws(
    distribution: Distribution, diffusion: Diffusion, t: float, n: int, rng: np.random.Generator
) -> Array:
    """n draws of X_t, [n, d]."""
    return forward.forward_sample(diffusion, distribution.sample(n, rng), np.full(n, t), rng)


def sample(
    predictor: Predictor,
    diffusion: Diffusion,
    start: Array,
    rngs: Sequence[np.random.Generator],
    sampler: Sampler = "exponential",
    steps: int = SAMPLE_STEPS,
    grid: Grid = "log",
    device: str | torch.device = "cpu",
) -> Array:
    """Samples [B, n, d] at T_0 of B networks that `predictor` evaluates side by side.

    start: y [B, n, d] at T: exact draws of X_T, or standard normal, as a model that does not know
    the law must begin. rngs [B]: of each network's noise, so that company changes nothing. Raises
    ValueError for a sampler that is none.
    """
    if sampler not in get_args(Sampler):
        raise ValueError(f"sampler = {sampler!r} is unknown: use {', '.join(get_args(Sampler))}")
    y = torch.as_tensor(start, dtype=torch.float64, device=device)
    if sampler == "flow":
        return _flow(predictor, diffusion, y)
    times = time_grid(diffusion, steps, grid)
    lengths = -np.diff(forward.integrated_rate(diffusion, times))
    for t, until, length in zip(times[:-1], times[1:], lengths, strict=True):
        s = _score(predictor, diffusion, y, float(t))
        if sampler == "heun":
            slope = (y + s) / 2
            guess = y + length * slope
            after = (guess + _score(predictor, diffusion, guess, float(until))) / 2
            y = y + length * (slope + after) / 2
            continue
        noise = np.stack([rng.standard_normal(start.shape[1:]) for rng in rngs])
        xi = torch.as_tensor(noise, device=y.device)
        if sampler == "euler_maruyama":
            y = y + length * (y / 2 + s) + np.sqrt(length) * xi
        else:
            grown = np.expm1(length / 2)
            y = y + grown * y + 2 * grown * s + np.sqrt(np.expm1(length)) * xi
    return np.asarray(y.cpu().numpy())


def _score(predictor: Predictor, diffusion: Diffusion, y: Tensor, t: float) -> Tensor:
    alpha, h = float(forward.alpha(diffusion, t)), float(forward.h(diffusion, t))
    return (alpha * predictor(y, t) - y) / h


def _flow(predictor: Predictor, diffusion: Diffusion, y: Tensor) -> Array:
    first = float(forward.integrated_rate(diffusion, diffusion.t_max))
    last = float(forward.integrated_rate(diffusion, diffusion.t_min))

    def slope(gone: float, values: Array) -> Array:
        t = float(forward.time_of_rate(diffusion, first - gone))
        now = torch.as_tensor(values.reshape(y.shape), device=y.device)
        moved: Tensor = (now + _score(predictor, diffusion, now, t)) / 2
        return np.asarray(moved.cpu().numpy().ravel())

    # What is asked about is each sample's own error, not that of the mean of all.
    start = y.cpu().numpy().ravel()
    scale = TOLERANCE / np.sqrt(len(start))
    solved = solve_ivp(slope, (0.0, first - last), start, rtol=TOLERANCE, atol=max(scale, 1e-10))
    if not solved.success:
        raise ValueError(f"the probability flow cannot be solved: {solved.message}")
    return np.asarray(solved.y[:, -1].reshape(y.shape))
