"""Whether a law of your own is what it says, before anything trains on it.

f = f* if, and only if, E[(X_0 - f(X_t)) g(X_t)] = 0 for all g. So draws of (X_0, X_t) tell a wrong
posterior mean from a right one, with no other knowledge of the law: the z-score of that mean, its
distance from 0 in standard errors, is then small for every g.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from trainers.errors import LawError
from trainers.laws.law import FloatArray
from trainers.laws.own.law import OwnDistribution, OwnLaw, sampled

DRAWS = 2**14
LEAST_DRAWS = 2**10
HELD_VALUES = 2**23
"""Coordinates of all draws, at most: fewer draws where there are very many coordinates."""

Z_MAX = 6.0
"""Of the thousands of z-scores of a law in ten dimensions, chance alone reaches 4 to 5."""

SAME = 1e-4
"""Share of the largest answer by which a row's may differ between two calls: rounding of float32,
and no more."""

ROUNDING = 1e-6
"""Share of the size of X_0 up to which a mean counts as 0."""

COORDINATES = 32
"""Of X_t, that g looks at one by one, beside the one whose mean is looked at."""

MIXED = 64
"""Draws at each time that are asked for again with those of all times together."""

Times = Iterable[tuple[float, float, float]]
"""t, alpha and h."""


def check_own_law(law: OwnLaw, times: Times) -> None:
    """Makes the law and compares its methods with its draws. Raises LawError: the class cannot be
    made, a method returns what it should not, or f* is wrong, with the t at which it is."""
    made = law.made()
    first, again = (sampled(law, made, 64, np.random.default_rng(1)) for _ in range(2))
    if not np.array_equal(first, again):
        raise LawError(
            f"law.kind {law.kind}: sample gave other draws from the same generator: draw from "
            "`rng` alone, and keep nothing from one call to the next"
        )
    if law.drawn:
        return
    if not callable(made.posterior_mean):
        raise LawError(f"law.kind {law.kind}: posterior_mean is no method: write one, or remove it")
    distribution = OwnDistribution(law, made)
    rng = np.random.default_rng(2)
    n = max(LEAST_DRAWS, min(DRAWS, HELD_VALUES // law.dimension))
    x0 = distribution.sample(n, rng)
    _check_numbers(law, distribution, x0)
    size = float(np.sqrt(np.square(x0).mean()))
    mixed = []
    for t, alpha, h in times:
        x = alpha * x0 + np.sqrt(h) * rng.standard_normal(x0.shape)
        f = distribution.posterior_mean(x, alpha, h)
        mixed.append((x[:MIXED], np.full(MIXED, alpha), np.full(MIXED, h)))
        worst = float(np.abs(tower_scores(x, x0 - f, size)).max())
        if worst > Z_MAX:
            raise LawError(
                f"law.kind {law.kind}: posterior_mean is not E[X_0 | X_t = x] of its own draws: at "
                f"t = {t:.3g} (alpha = {alpha:.3g}, h = {h:.3g}) the mean of (X_0 - f*) g(X_t) "
                f"over {n:,} draws is {worst:.0f} standard errors from 0: correct posterior_mean, "
                "or sample; without posterior_mean the law is uniform on draws"
            )
        if not distribution.has_variance:
            continue
        variance = distribution.posterior_variance(x, alpha, h)
        rest = np.square(x0 - f).sum(axis=1) - variance
        worst = float(np.abs(tower_scores(x, rest[:, None], size**2)).max())
        if worst > Z_MAX or variance.min() < 0:
            raise LawError(
                f"law.kind {law.kind}: posterior_variance is not E[||X_0 - f*||^2 | X_t = x], the "
                f"sum over coordinates: at t = {t:.3g} (alpha = {alpha:.3g}, h = {h:.3g}) draws "
                f"differ by {worst:.0f} standard errors: correct it, or remove it"
            )
    if mixed:
        _check_rows(law, distribution, mixed)


def _check_rows(
    law: OwnLaw, distribution: OwnDistribution, mixed: Sequence[tuple[FloatArray, ...]]
) -> None:
    """Whether a row's answer is its own where rows have different times, as those of trials do."""
    x, alpha, h = (np.concatenate(parts) for parts in zip(*mixed, strict=True))
    order = np.random.default_rng(3).permutation(len(x))
    names = ["posterior_mean", *(["posterior_variance"] if distribution.has_variance else [])]
    for name in names:
        ask = getattr(distribution, name)
        alone = np.concatenate([ask(*rows) for rows in mixed])[order]
        together = ask(x[order], alpha[order], h[order])
        if np.abs(together - alone).max() > SAME * np.abs(alone).max():
            raise LawError(
                f"law.kind {law.kind}: {name} gave a row other numbers beside rows of other times: "
                "alpha and h are [n], one for each row, and a row's answer is of its own x, alpha "
                "and h alone"
            )


def tower_scores(x: FloatArray, rest: FloatArray, size: float) -> FloatArray:
    """z-scores [p, k] of E[g(X_t) rest] = 0, for p functions g of x [n, d], and rest [n, k]; where
    rest has a column a coordinate, that coordinate of x is one more g for it. size: of what `rest`
    is a difference of."""
    seen = x[:, :COORDINATES]
    g = np.column_stack(
        [np.ones(len(x)), seen, np.sin(3 * seen), np.cos(7 * seen), seen > 0, (x * x).mean(axis=1)]
    )
    mean = g.T @ rest / len(x)
    square = np.square(g).T @ np.square(rest) / len(x)
    scale = np.broadcast_to(np.sqrt(np.square(g).mean(axis=0))[:, None], mean.shape)
    if rest.shape == x.shape:
        own = x * rest
        mean = np.vstack([mean, own.mean(axis=0)])
        square = np.vstack([square, np.square(own).mean(axis=0)])
        scale = np.vstack([scale, np.sqrt(np.square(x).mean(axis=0))])
    error = np.sqrt(np.maximum(square - mean**2, 0.0) / len(x))
    return np.asarray(mean / (error + ROUNDING * size * scale + 1e-300))


def _check_numbers(law: OwnLaw, distribution: OwnDistribution, x0: FloatArray) -> None:
    """The numbers that a class may state, on draws x0 [n, d]."""
    square = np.square(x0).sum(axis=1)
    stated = distribution.second_moment
    error = square.std() / np.sqrt(len(square)) + ROUNDING * square.mean()
    if hasattr(distribution.made, "second_moment") and abs(square.mean() - stated) > Z_MAX * error:
        raise LawError(
            f"law.kind {law.kind}: second_moment = {stated:.4g}, but E||X_0||^2 is "
            f"{square.mean():.4g} over {len(x0):,} draws: correct it, or remove it"
        )
    longest = float(np.sqrt(square.max()))
    if longest > distribution.support_radius * (1 + 1e-9):
        raise LawError(
            f"law.kind {law.kind}: support_radius = {distribution.support_radius:.4g}, but a draw "
            f"has the length {longest:.4g}: correct it, or remove it"
        )
