"""Where errors are measured: test points that serve every time and both weights, in equal groups.

Errors are expectations under t ~ U[T_0, T]. Uniform times would leave the unweighted error, whose
factor alpha^2/h^2 grows like T_0^-2, to a handful of points. So times come from the mixture

    q = 0.5 U[T_0, T] + 0.35 log-uniform + 0.15 (density prop. to g alpha^2 / h^2),

and point i has the importance weight p/q, p = 1/(T - T_0), of the balance heuristic (Veach and
Guibas 1995): it never exceeds 2, that of the unweighted error 7 (for constant g), and every
log-spaced bin of t has its share of points. One set serves all columns.

Within a group, times, X_0 and noise follow one scrambled Sobol' sequence: each point is
an exact draw, and together they fill the space evenly. The groups are scrambled apart: their means
are independent and identically distributed, so how they differ tells the test set's own error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from trainers.columns import TEST_GROUPS
from trainers.laws import Distribution
from trainers.laws.even_points import uniforms
from trainers.problem import diffusion as forward
from trainers.problem.regression import Samples, from_noise, stream
from trainers.trial import Diffusion, TrialConfig

Array = NDArray[np.float64]

SHARES = (0.5, 0.35, 0.15)
"""Of q: uniform, log-uniform, and the density proportional to g alpha^2 / h^2."""


def proposal_density(diffusion: Diffusion, t: Array) -> Array:
    """q(t), for t [n] in [T_0, T]."""
    low, high = diffusion.t_min, diffusion.t_max
    # d(1/h)/dt = -g alpha^2 / h^2
    mass = 1 / forward.h(diffusion, low) - 1 / forward.h(diffusion, high)
    factor = forward.unweighted_factor(forward.alpha(diffusion, t), forward.h(diffusion, t))
    parts = (
        np.full(len(t), 1 / (high - low)),
        1 / (t * np.log(high / low)),
        forward.rate(diffusion, t) * factor / mass,
    )
    return np.asarray(sum(share * part for share, part in zip(SHARES, parts, strict=True)))


def proposal_times(diffusion: Diffusion, u: Array) -> Array:
    """The times at which q's distribution function is u [n] in (0, 1), by bisection in log t."""
    low, high = diffusion.t_min, diffusion.t_max
    first, last = 1 / forward.h(diffusion, low), 1 / forward.h(diffusion, high)

    def below(t: Array) -> Array:
        parts = (
            (t - low) / (high - low),
            np.log(t / low) / np.log(high / low),
            (first - 1 / forward.h(diffusion, t)) / (first - last),
        )
        return np.asarray(sum(share * part for share, part in zip(SHARES, parts, strict=True)))

    left = np.full(len(u), np.log(low))
    right = np.full(len(u), np.log(high))
    for _ in range(60):
        middle = (left + right) / 2
        under = below(np.exp(middle)) < u
        left, right = np.where(under, middle, left), np.where(under, right, middle)
    return np.asarray(np.clip(np.exp((left + right) / 2), low, high))


def time_weights(diffusion: Diffusion, t: Array) -> Array:
    """p/q at the times of test points: what turns a mean over them into one over U[T_0, T]."""
    return np.asarray(1 / ((diffusion.t_max - diffusion.t_min) * proposal_density(diffusion, t)))


def group_sizes(n: int) -> list[int]:
    """The sizes of the TEST_GROUPS groups of n points, equal to within 1."""
    return [len(part) for part in np.array_split(np.arange(n), TEST_GROUPS)]


def draw_test_set(config: TrialConfig, distribution: Distribution) -> Samples:
    """The `test_points` triples that measure the errors, shared by all trials of a law: group after
    group. Their times are not uniform: see `time_weights`."""
    rng = stream("test", config.study_seed, config.law.identity())
    own, d = distribution.uniforms, config.dimension
    u = np.concatenate([uniforms(n, 1 + own + d, rng) for n in group_sizes(config.test_points)])
    t = proposal_times(config.diffusion, u[:, 0])
    x0 = distribution.part("test").transform(u[:, 1 : 1 + own])
    noise = special.ndtri(u[:, 1 + own :])
    return from_noise(distribution, config.diffusion, t, x0, noise, config.bias)
