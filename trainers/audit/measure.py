"""The assumptions of the theory, measured on one setting (docs/theory.md, section 9).

A setting is a law, a diffusion, the features and a study seed: what does not depend on a trial's
N, m or eta. Everything is float64 on the CPU. A **replicate** is an independent sample.

| symbol   | meaning                                              | shape  | unit   |
|----------|------------------------------------------------------|--------|--------|
| df*/dx   | Jacobian of f* in x, (alpha/h) Cov(X_0 \\| X_t = x)    | [d, d] | 1      |
| df*/dt   | derivative of f* in t at fixed x                     | [d]    | x/time |
| l_i/N    | eigenvalues of K/N                                   | [N]    | x^2    |
| R_H      | bound on ||f_H||_H^2, for each output                | scalar |        |

Lipschitz constants are suprema, and a search only finds lower estimates of them. f* is searched
where X_t lives, in the ball that holds 99.9 % of it: beyond, df*/dt has no bound for laws of
unbounded support.

approximation(R_H) is an infimum over a ball of functions. f_H is fitted on M points: its error
there is, in expectation, at most the infimum, its error on fresh points at least. Both are given;
the truth lies between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.audit.columns import (
    APPROXIMATION_SAMPLES,
    AUDIT_COLUMNS,
    AUDIT_QUANTITIES,
    NOISE_DRAWS,
    PARTS,
    PREDICTED,
    REPLICATES,
    SEARCH_STARTS,
    SPECTRUM_SAMPLES,
    audit_id,
    audit_identity,
    leading_count,
    noise_draws,
    search_starts,
)
from trainers.audit.learning_curve import Spectrum, learning_time
from trainers.audit.window import less_bias, window
from trainers.kernel.leading import leading, spectrum_of_parts
from trainers.kernel.ntk import relu_ntk
from trainers.kernel.product import KernelProduct
from trainers.kernel.terms import RidgeFamily, evaluate, mean_square, source_capacity
from trainers.laws import Distribution, Points, make_distribution
from trainers.laws.mixture_noise import Signal
from trainers.problem import diffusion as forward
from trainers.problem.regression import Samples, draw, stream
from trainers.trial import TrialConfig

__all__ = ["AUDIT_COLUMNS", "audit", "audit_id"]

Array = NDArray[np.float64]

TIMES = 13
"""Log-spaced times from T_0/10 to T; T_0 itself is added."""

TAIL_DRAWS = 50_000
CLIMBERS, PROPOSALS, ROUNDS = 32, 8, 16
"""The search for a largest slope: the best starts each take the best of so many random moves."""

KERNEL_SIZES = (64, 128, 256, 512, 1024)
INDICES = 48
PREDICTED_SAMPLES = tuple(2**k for k in range(4, 18))
FRESH_POINTS = 2048
NORMS = 16
NORM_DECADES = 2.0
"""The grid of R_H, log-spaced, ends below the interpolant's norm, so that the constraint binds."""


class Measured(NamedTuple):
    """x is NaN for a quantity without an axis, seed None where the value is exact."""

    quantity: str
    value: float
    x: float = math.nan
    seed: int | None = None


def audit(
    config: TrialConfig,
    atoms: Points | None = None,
    seeds: int = REPLICATES,
    samples: int = SPECTRUM_SAMPLES,
    brief: bool = False,
) -> list[dict[str, Any]]:
    """The audit of a trial's setting: rows of AUDIT_COLUMNS, in a fixed order.

    atoms: points of laws from files, as `make_distribution` takes them. seeds: replicates.
    samples: N of the spectrum. brief: what the spectrum predicts of the kernel, and nothing else.
    A value that is not finite is None. Raises ValueError for seeds < 1, LawError for a law's file.
    """
    if seeds < 1:
        raise ValueError(f"seeds = {seeds} must be at least 1")
    law = make_distribution(config.law, atoms)
    identity = audit_identity(config, samples, brief)
    found = (_predicted if brief else _measure)(config, law, seeds, samples)
    return [
        {
            **identity,
            "quantity": m.quantity,
            "axis": AUDIT_QUANTITIES[m.quantity].axis or None,
            "x": m.x if math.isfinite(m.x) else None,
            "seed": m.seed,
            "value": float(m.value) if math.isfinite(m.value) else None,
            "unit": AUDIT_QUANTITIES[m.quantity].unit,
        }
        for m in found
    ]


def _predicted(
    config: TrialConfig, law: Distribution, seeds: int, samples: int
) -> Iterator[Measured]:
    yield Measured("spectrum_samples", samples)
    for seed in range(seeds):
        for measured in spectrum(config, law, seed, samples):
            if measured.quantity in PREDICTED:
                yield measured


def _measure(
    config: TrialConfig, law: Distribution, seeds: int, samples: int
) -> Iterator[Measured]:
    if not math.isnan(law.support_radius):  # which a law of your own need not say
        yield Measured("support_radius", law.support_radius)
    yield Measured("spectrum_samples", samples)
    for seed in range(seeds):
        yield from tail(config, law, seed)
        yield from slopes(config, law, seed)
        yield from noise(config, law, seed)
        yield from spectrum(config, law, seed, samples)
    yield from approximation(config, law, seeds)


def _stream(purpose: str, config: TrialConfig, seed: int) -> np.random.Generator:
    # Without the diffusion: audits at several T_0 compare like with like.
    return stream(f"audit {purpose}", config.study_seed, config.law.identity(), seed)


def _clean(purpose: str, config: TrialConfig, law: Distribution, n: int, seed: int) -> Samples:
    return draw(law, config.diffusion, n, config.bias, _stream(purpose, config, seed))


def times(config: TrialConfig) -> Array:
    """Rising times from T_0/10 to T, T_0 among them."""
    t_min, t_max = config.diffusion.t_min, config.diffusion.t_max
    grid = np.geomspace(t_min / 10, t_max, TIMES)
    return np.sort(np.append(grid[np.abs(np.log(grid / t_min)) > 1e-9], t_min))


# --- the law --------------------------------------------------------------------------------------


def tail(config: TrialConfig, law: Distribution, seed: int) -> Iterator[Measured]:
    """P(||X_t|| > R) at t ~ U[T_0, T], on R from a quarter to four times the larger of the root
    mean squares of X_0 and of the standard normal."""
    rng = _stream("tail", config, seed)
    t = forward.sample_times(config.diffusion, TAIL_DRAWS, rng)
    x = forward.forward_sample(config.diffusion, law.sample(TAIL_DRAWS, rng), t, rng)
    length = np.linalg.norm(x, axis=1)
    scale = math.sqrt(max(law.second_moment, law.dimension))
    for radius in scale * np.linspace(0.25, 4, 16):
        yield Measured("tail", float(np.mean(length > radius)), float(radius), seed)


def noise(config: TrialConfig, law: Distribution, seed: int) -> Iterator[Measured]:
    """E||X_0 - f*||^2 and the same per coordinate at each of the `times`: the mean of the posterior
    variance, as a trial's own (`trainers.problem.evaluation`). Draws of X_0 - f* would miss the
    rare X_t between two atoms, which carry all of it when t is small."""
    rng = _stream("noise", config, seed)
    n = noise_draws(config.law.terms, law.dimension, NOISE_DRAWS)
    for t in times(config):
        total = law.mean_posterior_variance(_at(config, t), n, rng)
        yield Measured("posterior_variance", total, float(t), seed)
        yield Measured("noise_variance", total / law.dimension, float(t), seed)


def _at(config: TrialConfig, t: float) -> Signal:
    """alpha and h at one time, for every point."""
    a, h = float(forward.alpha(config.diffusion, t)), float(forward.h(config.diffusion, t))
    return lambda u: (np.full(len(u), a), np.full(len(u), h))


def _posterior_mean(config: TrialConfig, law: Distribution, x: Array, t: float) -> Array:
    return law.posterior_mean(x, forward.alpha(config.diffusion, t), forward.h(config.diffusion, t))


# --- how steep f* is ------------------------------------------------------------------------------


def slope_in_x(config: TrialConfig, law: Distribution, x: Array, t: float) -> Array:
    """Spectral norm of df*/dx at x [n, d]: [n], by central differences in each coordinate.

    f* varies over lengths of h/(alpha |X_0|) and sqrt(h): a thousandth of both leaves a relative
    error of about 1e-6.
    """
    a, h = float(forward.alpha(config.diffusion, t)), float(forward.h(config.diffusion, t))
    step = 1e-3 * h / (math.sqrt(h) + a * math.sqrt(law.second_moment))
    n, d = x.shape
    moved = (
        (x[:, None] + step * np.eye(d)).reshape(-1, d),
        (x[:, None] - step * np.eye(d)).reshape(-1, d),
    )
    ahead, behind = (_posterior_mean(config, law, points, t) for points in moved)
    jacobian = ((ahead - behind) / (2 * step)).reshape(n, d, d)
    return np.asarray(np.linalg.norm(jacobian, ord=2, axis=(1, 2)))


def slope_in_t(config: TrialConfig, law: Distribution, x: Array, t: float) -> Array:
    """||df*/dt|| at x [n, d] held fixed: [n], by a central difference of t/10,000 each way."""
    step = 1e-4 * t
    ahead, behind = (_posterior_mean(config, law, x, t + s) for s in (step, -step))
    return np.asarray(np.linalg.norm(ahead - behind, axis=1) / (2 * step))


def slopes(config: TrialConfig, law: Distribution, seed: int) -> Iterator[Measured]:
    """Largest slopes of f* found in the ball of X_t, and their 99 % quantiles over X_t, by t.

    The search starts at draws of X_t, at points uniform in the ball, and midway between pairs of
    draws of X_0, where f* of a multimodal law turns from one mode to another and X_t hardly ever is
    when t is small.
    """
    rng = _stream("slopes", config, seed)
    d = law.dimension
    n = search_starts(config.law.terms, d, SEARCH_STARTS)
    for t in times(config):
        a = float(forward.alpha(config.diffusion, t))
        lengths = np.linalg.norm(
            forward.forward_sample(config.diffusion, law.sample(TAIL_DRAWS, rng), t, rng), axis=1
        )
        radius = float(np.quantile(lengths, 0.999))
        drawn = forward.forward_sample(config.diffusion, law.sample(n, rng), t, rng)
        between = a * (law.sample(n, rng) + law.sample(n, rng)) / 2
        inside = rng.standard_normal((n, d))
        inside *= (
            radius
            * rng.uniform(size=(n, 1)) ** (1 / d)
            / np.linalg.norm(inside, axis=1, keepdims=True)
        )
        starts = np.concatenate([drawn, inside, between])
        yield Measured("search_radius", radius, float(t), seed)
        for name, slope in (("x", slope_in_x), ("t", slope_in_t)):

            def at(x: Array, slope: Any = slope, t: float = t) -> Array:
                return np.asarray(slope(config, law, x, t))

            typical = float(np.quantile(at(drawn), 0.99))
            best = _climb(at, starts, radius, rng)
            yield Measured(f"lipschitz_{name}", best, float(t), seed)
            yield Measured(f"typical_slope_{name}", typical, float(t), seed)


def _climb(
    slope: Callable[[Array], Array],
    starts: Array,
    radius: float,
    rng: np.random.Generator,
) -> float:
    """The largest slope found in the ball from the starts [n, d]: random moves from the best ones,
    of a length that shrinks from half the radius to less than a thousandth of it."""
    starts = _into_ball(starts, radius)
    values = slope(starts)
    kept = np.argsort(values)[::-1][: max(1, min(CLIMBERS, len(starts) // 8))]
    at, best = starts[kept], values[kept]
    for k in range(ROUNDS):
        moves = radius / 2 * 0.65**k * rng.standard_normal((len(at), PROPOSALS, at.shape[1]))
        tried = _into_ball((at[:, None] + moves).reshape(-1, at.shape[1]), radius)
        steepness = slope(tried).reshape(len(at), PROPOSALS)
        pick = steepness.argmax(axis=1)
        every = np.arange(len(at))
        better = steepness[every, pick] > best
        chosen = tried.reshape(len(at), PROPOSALS, -1)[every, pick]
        at = np.where(better[:, None], chosen, at)
        best = np.where(better, steepness[every, pick], best)
    return float(best.max())


def _into_ball(x: Array, radius: float) -> Array:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x * np.minimum(1.0, radius / np.maximum(length, 1e-300)))


# --- the kernel -----------------------------------------------------------------------------------


def spectrum(
    config: TrialConfig, law: Distribution, seed: int, samples: int = SPECTRUM_SAMPLES
) -> Iterator[Measured]:
    """Of one sample: the smallest eigenvalue of K/N and the largest step size against N (the
    sample's first N points), the largest eigenvalues against their index, source and capacity, and
    the error that they predict."""
    sample = _clean("spectrum", config, law, samples, seed)
    for n in KERNEL_SIZES:
        values = np.linalg.eigvalsh(relu_ntk(sample.z[:n], sample.z[:n]))
        yield Measured("smallest_eigenvalue", float(values[0]) / n, n, seed)
        yield Measured("largest_step_size", 2 * n / float(values[-1]), n, seed)
    kernel = KernelProduct(sample.z, store=True)
    found = leading(kernel, sample.fstar, leading_count(samples))
    values, top = found.values / samples, found.certified
    parts = spectrum_of_parts(kernel.gram(), PARTS, top)
    operator = less_bias(values[:top], parts, PARTS)
    for i in eigenvalue_indices(leading_count(samples)):
        if i > top:
            break
        yield Measured("ntk_eigenvalue", float(values[i - 1]), i, seed)
        yield Measured("operator_eigenvalue", float(operator[i - 1]), i, seed)
    yield from _smoothness(config.dimension, values[:top], operator, found.coefficients, seed)
    known = Spectrum(
        eigenvalues=operator,
        nodes=np.concatenate([operator, values[top:]]),
        energies=np.square(found.coefficients).sum(1) / samples,
        rest=max(0.0, found.square / samples**2 - float(np.square(values[:top]).sum())),
        noise=float(mean_square(sample.x0 - sample.fstar)),
    )
    for mode, variance in enumerate(config.law.mode_variances):
        time = learning_time(found.values / samples, np.square(found.coefficients[:, mode]))
        yield Measured("mode_learning_time", time, variance, seed)
    for n, (error, time) in zip(PREDICTED_SAMPLES, known.best(PREDICTED_SAMPLES), strict=True):
        if math.isfinite(error):
            yield Measured("predicted_error", error, n, seed)
            yield Measured("predicted_time", time, n, seed)


def _smoothness(
    dimension: int, whole: Array, operator: Array, coefficients: Array, seed: int
) -> Iterator[Measured]:
    """Capacity and source over the window of indices; nothing where that is too short."""
    first, last = window(dimension, np.arange(1.0, len(whole) + 1), whole / operator - 1)
    try:
        exponents = source_capacity(operator, coefficients, first=first, last=last)
    except ValueError:
        return
    yield Measured("capacity", exponents.capacity, seed=seed)
    yield Measured("source", exponents.source, seed=seed)
    rate = exponents.rate if exponents.source > 0 else math.nan
    yield Measured("rate", rate, seed=seed)


def eigenvalue_indices(last: int) -> list[int]:
    """Log-spaced indices i from 1 to `last`."""
    return sorted({round(i) for i in np.geomspace(1, last, INDICES)})


def approximation(config: TrialConfig, law: Distribution, seeds: int) -> Iterator[Measured]:
    """Errors of f_H against R_H, on fresh points and on the M that it was fitted to.

    The norms are the same for every replicate; those at which the constraint does not bind in some
    output of some replicate are left out.
    """
    samples = [
        _clean("clean points", config, law, APPROXIMATION_SAMPLES, seed) for seed in range(seeds)
    ]
    families = [RidgeFamily(sample.z, sample.fstar) for sample in samples]
    largest = min(float(f.squared_norms(f.smallest_ridge).min()) for f in families)
    grid = largest / 2 * np.logspace(-NORM_DECADES, 0, NORMS)
    norms = sorted({float(f"{v:.3g}") for v in grid} | set(config.norms))
    norms = [norm for norm in norms if norm < largest]
    for seed, (sample, family) in enumerate(zip(samples, families, strict=True)):
        fresh = _clean("fresh points", config, law, FRESH_POINTS, seed)
        elements = [family.element(norm) for norm in norms]
        values = evaluate(elements, np.concatenate([sample.z, fresh.z]))
        inside = mean_square(values[:, : len(sample)] - sample.fstar)
        outside = mean_square(values[:, len(sample) :] - fresh.fstar)
        for norm, a, b in zip(norms, outside, inside, strict=True):
            yield Measured("approximation", float(a), norm, seed)
            yield Measured("approximation_in_sample", float(b), norm, seed)
