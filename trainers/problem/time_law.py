"""What training weighs: the law of its times and the weight of its loss (docs/theory.md, 12).

L = 1/(2N) sum_j w(t_j) ||f(z_j) - X_{0,j}||^2 with t_j ~ pi on [T_0, T]. Errors are measured under
t ~ U[T_0, T] whatever pi and w are (`evaluation`).

| pi            | uniform in                                                                       |
|---------------|----------------------------------------------------------------------------------|
| `uniform`     | t                                                                                |
| `log_uniform` | log t                                                                            |
| `log_snr`     | log(alpha^2 / h) (Kingma et al. 2021)                                            |
| `log_normal`  | not uniform: log(h^(1/2) / alpha) ~ N(-1.2, 1.2^2), cut to the diffusion's range |
|               | (Karras et al. 2022)                                                             |

| w         | value               | the loss is the plain one of a network that predicts           |
|-----------|---------------------|----------------------------------------------------------------|
| `x0`      | 1                   | X_0                                                            |
| `score`   | alpha^2 / h^2       | the score                                                      |
| `eps`     | alpha^2 / h         | the noise                                                      |
| `v`       | 1 / h               | alpha eps - h^(1/2) X_0: alpha^2 + h = 1 (Salimans, Ho 2022)   |
| `min_snr` | min(alpha^2 / h, 5) | (Hang et al. 2023)                                             |

The network is homogeneous: w^(1/2) f(z) = f(w^(1/2) z). So a row of weight w is the row
(w^(1/2) z, w^(1/2) X_0) of weight 1, for the network, for its kernel (K becomes D^(1/2) K D^(1/2),
D the weights) and for every formula about them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trainers.problem import diffusion as forward
from trainers.ranges import TimeLaw, Weight
from trainers.trial import Diffusion, TrialConfig

Array = NDArray[np.float64]

MEAN, STD = -1.2, 1.2
"""Of log(h^(1/2)/alpha) under `log_normal`."""

GAMMA = 5.0
"""Of `min_snr`."""

CELLS = 1 << 14
"""Of the grid in log t on which pi w is integrated."""


def sample_times(config: TrialConfig, n: int, rng: np.random.Generator) -> Array:
    """n independent times t ~ pi, [n]; the same draws of `rng` serve every law."""
    if config.time_law == "uniform":
        return forward.sample_times(config.diffusion, n, rng)
    return quantile(config.time_law, config.diffusion, rng.random(n))


def quantile(law: TimeLaw, diffusion: Diffusion, u: Array) -> Array:
    """The times below which pi has mass u [n] in [0, 1], [n]."""
    low, high = diffusion.t_min, diffusion.t_max
    if law == "uniform":
        t = low + (high - low) * u
    elif law == "log_uniform":
        t = low * np.exp(u * np.log(high / low))
    else:
        # log(h/alpha^2) rises with t.
        first, last = _log_ratio(diffusion, np.array([low, high]))
        if law == "log_snr":
            log_ratio = first + u * (last - first)
        else:
            log_ratio = 2 * _cut_normal(first / 2, last / 2, u)
        t = _time_of(diffusion, log_ratio)
    return np.asarray(np.clip(t, low, high))


def density(law: TimeLaw, diffusion: Diffusion, t: Array) -> Array:
    """pi(t), per unit of time, at t [n] in [T_0, T]."""
    low, high = diffusion.t_min, diffusion.t_max
    if law == "uniform":
        return np.full(len(t), 1 / (high - low))
    if law == "log_uniform":
        return np.asarray(1 / (t * np.log(high / low)))
    first, last = _log_ratio(diffusion, np.array([low, high]))
    slope = forward.rate(diffusion, t) / forward.h(diffusion, t)  # d log(h/alpha^2) / dt
    if law == "log_snr":
        return np.asarray(slope / (last - first))
    x = (_log_ratio(diffusion, t) / 2 - MEAN) / STD
    mass = special.ndtr((last / 2 - MEAN) / STD) - special.ndtr((first / 2 - MEAN) / STD)
    return np.asarray(np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) / (2 * STD * mass) * slope)


def weight(kind: Weight, alpha: Array, h: Array) -> Array:
    """w [n] of alpha and h [n]."""
    if kind == "x0":
        return np.ones(len(h))
    if kind == "score":
        return forward.unweighted_factor(alpha, h)
    if kind == "v":
        return np.asarray(1 / h)
    snr = np.asarray(alpha**2 / h)
    return snr if kind == "eps" else np.minimum(snr, GAMMA)


def weighted_times(config: TrialConfig, u: Array) -> tuple[Array, float]:
    """The times [n] below which the law in proportion to pi w has mass u [n], and E_pi[w]: a mean
    under pi of w(t) times something is the second times its mean over the first."""
    diffusion = config.diffusion
    if config.weight == "x0":
        return quantile(config.time_law, diffusion, u), 1.0
    log_t = np.linspace(np.log(diffusion.t_min), np.log(diffusion.t_max), CELLS + 1)
    t = np.exp(log_t)
    w = weight(config.weight, forward.alpha(diffusion, t), forward.h(diffusion, t))
    mass = density(config.time_law, diffusion, t) * w * t
    below = np.append(0.0, np.cumsum((mass[1:] + mass[:-1]) / 2 * np.diff(log_t)))
    return np.exp(np.interp(u * below[-1], below, log_t)), float(below[-1])


def _log_ratio(diffusion: Diffusion, t: Array) -> Array:
    """log(h / alpha^2): without alpha^2 itself, which underflows at late times."""
    return np.log(forward.h(diffusion, t)) + forward.integrated_rate(diffusion, t)


def _time_of(diffusion: Diffusion, log_ratio: Array) -> Array:
    """The t of a log(h / alpha^2) [n]: h/alpha^2 = exp(int_0^t g) - 1."""
    return forward.time_of_rate(diffusion, np.logaddexp(0.0, log_ratio))


def _cut_normal(first: float, last: float, u: Array) -> Array:
    """The quantiles u [n] of N(MEAN, STD^2) given that it lies in [first, last]."""
    a, b = (first - MEAN) / STD, (last - MEAN) / STD
    if a > 0:  # by the other tail, whose probabilities are no rounding
        return np.asarray(MEAN - STD * special.ndtri(_between(-b, -a, 1 - u)))
    return np.asarray(MEAN + STD * special.ndtri(_between(a, b, u)))


def _between(a: float, b: float, u: Array) -> Array:
    low, high = special.ndtr(a), special.ndtr(b)
    return np.asarray(low + u * (high - low))
