"""Errors where clusters stand at some levels only: against dense algebra, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fits.power_law import fit_power_law
from analysis.levels.clusters import Clusters
from analysis.levels.intervals import Method, student, summarise

X = 2.0 ** np.arange(6, 14)
U = np.log(X) - np.log(X).mean()
SLOPE = -U / (U @ U)


def nested(*numbers: int) -> np.ndarray:
    """[S, L] cells: seeds 0 .. n_l - 1 at level l."""
    return (np.arange(max(numbers))[:, None] < np.array(numbers)).astype(np.int64)


NESTED = nested(20, 20, 10, 10, 5, 5, 3, 3)


def drawn(
    rng: np.random.Generator, cells: np.ndarray, shift: float, tilt: float, own: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, log y - log mean, seed: one value a cell."""
    who, where = np.nonzero(cells)
    effect = shift * rng.standard_normal(len(cells))[who]
    effect += tilt * rng.standard_normal(len(cells))[who] * U[where]
    return X[where], effect + own * rng.standard_normal(len(who)), who


def clusters(cells: np.ndarray, noise: np.ndarray) -> Clusters:
    """Of values noise, in the order of the cells."""
    who, where = np.nonzero(cells)
    table = np.zeros(cells.shape)
    table[who, where] = noise
    n = cells.sum(axis=0)
    return Clusters(np.where(cells > 0, table - table.sum(axis=0) / n, 0.0) / n, cells, U)


def test_complete_designs_have_the_variance_of_slopes() -> None:
    cells = nested(*[6] * 8)
    table = np.random.default_rng(0).standard_normal((6, 8))
    variance, freedom = clusters(cells, table.ravel()).error(SLOPE)
    assert variance == pytest.approx((table @ SLOPE).var(ddof=1) / 6)
    assert freedom == pytest.approx(5)


def test_twice_the_values_of_a_seed_are_no_more_seeds() -> None:
    x, noise, seed = drawn(np.random.default_rng(0), nested(*[6] * 8), 0.3, 0.05, 0.1)
    y = X[0] * np.exp(noise)
    once, twice = fit_power_law(x, y, seed), fit_power_law(*(np.tile(v, 2) for v in (x, y, seed)))
    assert twice.exponent == pytest.approx(once.exponent, abs=1e-3)
    assert np.ptp(twice.ci) == pytest.approx(np.ptp(once.ci), rel=0.02)


def test_parts_that_nothing_links_are_put_together_by_satterthwaite() -> None:
    cells = np.zeros((9, 8), dtype=np.int64)
    cells[:4, :5] = 1
    cells[4:, 5:] = 1
    noise = np.random.default_rng(1).standard_normal(int(cells.sum()))
    held = clusters(cells, noise)
    parts = [held.robust(SLOPE * side) for side in (np.arange(8) < 5, np.arange(8) >= 5)]
    variance, freedom = held.robust(SLOPE)
    assert [f for _v, f in parts] == pytest.approx([3, 4])
    assert variance == pytest.approx(sum(v for v, _f in parts))
    assert freedom == pytest.approx(variance**2 / sum(v**2 / f for v, f in parts))


@pytest.mark.parametrize("cells", [NESTED, nested(2, 2, 2, 2, 2, 2, 2, 9)])
def test_robust_errors_are_unbiased_for_alike_values_with_bell_and_mccaffreys_freedom(
    cells: np.ndarray,
) -> None:
    """By the matrix of the quadratic form: its trace, and the trace of its square."""
    size = int(cells.sum())
    rows = [clusters(cells, e).scores for e in np.eye(size)]
    n = cells.sum(axis=0)
    each = np.array([s @ (SLOPE * np.sqrt(n / (n - 1))) for s in rows]).T
    form = each.T @ each
    variance, freedom = clusters(cells, np.arange(size) % 7.0).robust(SLOPE)
    assert np.trace(form) == pytest.approx(np.sum(SLOPE**2 / n))
    assert freedom == pytest.approx(np.trace(form) ** 2 / np.trace(form @ form))
    assert variance == pytest.approx((np.arange(size) % 7.0) @ form @ (np.arange(size) % 7.0))


def test_the_mixed_models_equations_are_those_of_dense_matrices() -> None:
    """Rao's equations tr(P V_i P V_j) theta_j = y' P V_i P y, with P written out, at the fixed
    point that the rounds come to."""
    rng = np.random.default_rng(2)
    _x, noise, who = drawn(rng, NESTED, 0.3, 0.1, 0.2)
    mixed = clusters(NESTED, noise).mixed
    assert mixed is not None
    where = np.nonzero(NESTED)[1]
    same = (who[:, None] == who).astype(float)
    u = mixed.u[where]
    bases = [same, same * (u[:, None] + u), same * np.outer(u, u), np.eye(len(u))]
    y = noise / mixed.h[where]
    levels = (where[:, None] == np.arange(8)).astype(float)
    weights = np.linalg.inv(sum(t * b for t, b in zip(mixed.near, bases, strict=True)))
    p = weights - weights @ levels @ np.linalg.solve(
        levels.T @ weights @ levels, levels.T @ weights
    )
    information = np.array([[np.trace(p @ a @ p @ b) for b in bases] for a in bases])
    seen = np.array([y @ p @ b @ p @ y for b in bases])
    assert mixed.theta == pytest.approx(np.linalg.solve(information, seen), rel=1e-2)
    assert mixed.covariance == pytest.approx(2 * np.linalg.inv(information), rel=1e-2, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("tilt", [0.0, 0.1])
def test_the_variance_is_unbiased_whether_seeds_tilt_or_not(tilt: float) -> None:
    cells = NESTED
    n = cells.sum(axis=0)
    w = cells * (SLOPE / n)
    planted = 0.3**2 * np.sum(w.sum(axis=1) ** 2) + 0.1**2 * np.sum(w**2)
    planted += tilt**2 * np.sum((w @ U) ** 2)
    found = []
    for i in range(400):
        rng = np.random.default_rng(i)
        mixed = clusters(cells, drawn(rng, cells, 0.3, tilt, 0.1)[1]).mixed
        assert mixed is not None
        own = mixed.error(SLOPE)
        found.append(0.0 if own is None else own[0])
    assert np.mean(found) == pytest.approx(planted, rel=4 * np.std(found) / planted / 20)
    assert np.std(found) < planted  # four standard errors are less than a fifth


def test_values_without_noise_have_no_error() -> None:
    held = clusters(NESTED, np.zeros(int(NESTED.sum())))
    assert held.mixed is None
    assert held.error(SLOPE)[0] == 0


def test_a_level_with_one_seed_links_nothing() -> None:
    cells = nested(5, 5, 5, 5, 5, 5, 5, 1)
    x, noise, seed = drawn(np.random.default_rng(3), cells, 0.3, 0.0, 0.1)
    assert summarise(x, np.exp(noise), seed).method is Method.RESIDUALS
    doubled = [np.append(v, v[-1:]) for v in (x, np.exp(noise), seed)]
    assert summarise(*doubled).method is not Method.SEEDS


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells",
    [nested(50, 50, 2, 2, 2, 2, 2, 2), nested(2, 2, 2, 2, 2, 2, 2, 20), NESTED],
    ids=["50 and 2", "2 and 20", "nested"],
)
def test_unequal_seeds_are_covered(cells: np.ndarray) -> None:
    """benchmarks/coverage.py has more designs and kinds of noise, and the lengths."""
    held, taken_as_complete = [], []
    for i in range(200):
        x, noise, seed = drawn(np.random.default_rng(i), cells, 0.3, 0.0, 0.1)
        fit = fit_power_law(x, x**-0.5 * np.exp(noise), seed)
        assert fit.method is Method.SEEDS
        assert fit.means is not None
        assert fit.means.clusters is not None
        held.append(fit.ci[0] <= 0.5 <= fit.ci[1])
        size = len(cells)
        each = fit.means.clusters.scores @ SLOPE
        half = np.sqrt(each @ each * size / (size - 1)) * student(0.95, size - 1)
        taken_as_complete.append(abs(fit.exponent - 0.5) <= half)
    assert np.mean(held) > 0.93 - 2 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(taken_as_complete) < 0.9


def test_large_designs_have_robust_errors() -> None:
    cells = (np.random.default_rng(4).random((300, 130)) < 0.5).astype(np.int64)
    cells[:2] = 1
    u = np.linspace(-2, 2, 130)
    scores = np.where(cells, np.random.default_rng(5).standard_normal(cells.shape), 0.0)
    held = Clusters(scores, cells, u)
    assert held.mixed is None
    c = u / (u @ u)
    assert held.error(c) == held.robust(c)
