"""The common suite of every law: simulation, independent densities, limits, tails, bounds.

A z-score is a difference over its standard error. Streams are fixed, and no |z| may pass 5: among
the few thousand checked here, chance alone reaches about 4.
"""

from __future__ import annotations

import math
import runpy
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.laws import KINDS, Distribution, Law, make_distribution, mixture
from trainers.problem.evaluation import NOISE_POINTS
from trainers.trial import Atoms, Cube, GaussianMixture, Sphere, Subspace

FloatArray = NDArray[np.float64]
Z_MAX = 5.0


TESTS = {kind: runpy.run_path(str(Path(__file__).with_name(f"test_{kind}.py"))) for kind in KINDS}
"""The test of each law holds its `examples` in a dimension, and its `log_density` written anew."""


def base_laws(dimension: int) -> list[Any]:
    return [law for test in TESTS.values() for law in test["examples"](dimension)]


LAWS: list[Law] = [
    *[law for dimension in (1, 2, 5) for law in base_laws(dimension)],
    # A subspace asks its inner law alone: every shape of the map, and every inner law, once.
    Subspace(dimension=1, inner=Cube(dimension=1), seed=4),
    Subspace(dimension=2, inner=Sphere(dimension=2, radius=1.5), seed=6),
    *[Subspace(dimension=2, inner=inner, seed=5) for inner in base_laws(1)[1::2]],
    *[Subspace(dimension=5, inner=inner, seed=7) for inner in base_laws(2)[::2]],
]
EVERY_LAW = pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.label}-d{law.dimension}")


def at_time(t: float) -> tuple[float, float]:
    """alpha and h of the default process, g = 1."""
    return math.exp(-t / 2), -math.expm1(-t)


def draw(law: Law, t: float, n: int, seed: int) -> tuple[Distribution, FloatArray, FloatArray]:
    """The distribution, n draws of X_0, and of X_t given those."""
    distribution = make_distribution(law)
    rng = np.random.default_rng(seed)
    x0 = distribution.sample(n, rng)
    alpha, h = at_time(t)
    return distribution, x0, alpha * x0 + math.sqrt(h) * rng.standard_normal(x0.shape)


def z_scores(values: FloatArray) -> FloatArray:
    """Of the hypothesis that the columns of `values` [n, k] have mean 0."""
    error = values.std(axis=0) / math.sqrt(len(values))
    return np.asarray(values.mean(axis=0) / (error + 1e-13))  # exact zeros, up to rounding


def tower_scores(x0: FloatArray, x: FloatArray, f: FloatArray) -> FloatArray:
    """E[phi(X_t) (X_0 - f(X_t))] = 0 for every phi if, and only if, f = f*."""
    phi = np.column_stack(
        [np.ones(len(x)), x, np.sin(3 * x), np.cos(7 * x), x > 0, (x * x).sum(axis=1)]
    )
    return z_scores(np.einsum("np,nd->npd", phi, x0 - f).reshape(len(x), -1))


# --- simulation ---------------------------------------------------------------------------------


@pytest.mark.slow
@EVERY_LAW
@pytest.mark.parametrize("t", [0.05, 0.5, 2.0])
def test_posterior_mean_against_self_normalised_averages(law: Law, t: float) -> None:
    """f*(x) against draws of X_0 from the prior, weighted by N(x; alpha X_0, h I)."""
    distribution, _, x = draw(law, t, 4, seed=11)
    alpha, h = at_time(t)
    prior = distribution.sample(80_000, np.random.default_rng(12))
    f = distribution.posterior_mean(x, alpha, h)
    for x_i, f_i in zip(x, f, strict=True):
        log_weight = -((x_i - alpha * prior) ** 2).sum(axis=1) / (2 * h)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        assert 1 / (weight**2).sum() > 50  # enough draws carry the weight for a normal error
        error = np.sqrt((weight[:, None] ** 2 * (prior - f_i) ** 2).sum(axis=0))
        assert np.all(np.abs(weight @ prior - f_i) < Z_MAX * error + 1e-12)


@pytest.mark.slow
@EVERY_LAW
@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.05, 0.5, 3.0])
def test_posterior_mean_and_error_in_simulation(law: Law, t: float) -> None:
    distribution, x0, x = draw(law, t, 20_000, seed=13)
    f = distribution.posterior_mean(x, *at_time(t))
    assert np.abs(tower_scores(x0, x, f)).max() < Z_MAX
    # E||X_0 - f*||^2 in two ways: itself, and E||X_0||^2 - E||f*||^2
    squares = ((x0 - f) ** 2).sum(axis=1) + (f**2).sum(axis=1) - distribution.second_moment
    assert np.abs(z_scores(squares[:, None])).max() < Z_MAX


@pytest.mark.slow
@EVERY_LAW
def test_mean_posterior_variance(law: Law) -> None:
    """sigma^2 d, of which every study's noise level is made: the same from other points, and the
    simulated mean of ||X_0 - f*||^2."""

    def signal(u: FloatArray) -> tuple[FloatArray, FloatArray]:
        t = 0.01 + 0.99 * u
        return np.exp(-t / 2), -np.expm1(-t)

    distribution = make_distribution(law)
    found = [
        distribution.mean_posterior_variance(signal, NOISE_POINTS, np.random.default_rng(seed))
        for seed in range(2)
    ]
    assert max(found) - min(found) <= 0.01 * max(found)
    rng = np.random.default_rng(27)
    x0 = distribution.sample(20_000, rng)
    alpha, h = signal(rng.uniform(size=len(x0)))
    x = alpha[:, None] * x0 + np.sqrt(h)[:, None] * rng.standard_normal(x0.shape)
    square = ((x0 - distribution.posterior_mean(x, alpha, h)) ** 2).sum(axis=1)
    error = square.std() / math.sqrt(len(square))
    assert abs(square.mean() - found[0]) < Z_MAX * error + 0.01 * found[0]


@EVERY_LAW
def test_the_simulation_would_notice_a_wrong_posterior_mean(law: Law) -> None:
    distribution, x0, x = draw(law, 0.5, 20_000, seed=13)
    alpha, h = at_time(0.5)
    wrong = distribution.posterior_mean(x, alpha, 1.15 * h)
    assert np.abs(tower_scores(x0, x, wrong)).max() > Z_MAX


@EVERY_LAW
def test_samples_have_the_moments(law: Law) -> None:
    distribution, x0, _ = draw(law, 1.0, 50_000, seed=14)
    assert x0.shape == (50_000, law.dimension)
    assert np.linalg.norm(x0, axis=1).max() <= distribution.support_radius * (1 + 1e-12)
    # at t = infinity X_t says nothing, and f* is the mean
    mean = distribution.posterior_mean(np.full((1, law.dimension), 0.3), 0.0, 1.0)
    assert np.abs(z_scores(x0 - mean)).max() < Z_MAX
    square = (x0**2).sum(axis=1, keepdims=True)
    assert np.abs(z_scores(square - distribution.second_moment)).max() < Z_MAX
    again = distribution.sample(50_000, np.random.default_rng(14))
    np.testing.assert_array_equal(x0, again)
    assert not np.array_equal(x0, distribution.sample(50_000, np.random.default_rng(15)))


@pytest.mark.parametrize("law", [Cube(dimension=3), Sphere(dimension=3)])
def test_samples_are_isotropic(law: Law) -> None:
    _, x0, _ = draw(law, 1.0, 50_000, seed=16)
    products = np.einsum("ni,nj->nij", x0, x0) - np.eye(3) / 3
    assert np.abs(z_scores(products.reshape(-1, 9))).max() < Z_MAX


# --- independent densities ----------------------------------------------------------------------


def torch_log_density(
    law: Law, distribution: Any, x: torch.Tensor, alpha: float, h: float
) -> torch.Tensor:
    """log p_t(x) [n], as the law's test writes it from its definition."""
    if isinstance(law, Subspace):
        basis = torch.from_numpy(distribution._basis)
        rest = x - x @ basis @ basis.T
        codimension = law.dimension - law.inner.dimension
        normal = -(rest**2).sum(1) / (2 * h) - codimension / 2 * math.log(2 * math.pi * h)
        return torch_log_density(law.inner, distribution._inner, x @ basis, alpha, h) + normal
    density: torch.Tensor = TESTS[law.kind]["log_density"](law, distribution, x, alpha, h)
    return density


@EVERY_LAW
@pytest.mark.parametrize("t", [1e-3, 0.05, 0.5, 3.0])
def test_density_and_score_against_autograd(law: Law, t: float) -> None:
    alpha, h = at_time(t)
    distribution, _, x = draw(law, t, 200, seed=17)
    # and points the process seldom visits
    x = np.concatenate(
        [x, x[:50] + math.sqrt(h) * np.random.default_rng(18).normal(size=(50, law.dimension))]
    )
    variable = torch.from_numpy(x).requires_grad_()
    log_density = torch_log_density(law, distribution, variable, alpha, h)
    (gradient,) = torch.autograd.grad(log_density.sum(), variable)
    np.testing.assert_allclose(
        distribution.log_marginal(x, alpha, h), log_density.detach().numpy(), rtol=1e-9, atol=1e-9
    )
    # the identity score = (alpha f* - x) / h; the scale of a score is 1 / sqrt(h)
    score = (alpha * distribution.posterior_mean(x, alpha, h) - x) / h
    np.testing.assert_allclose(score, gradient.numpy(), rtol=1e-8, atol=1e-8 / math.sqrt(h))


@EVERY_LAW
def test_times_may_differ_from_row_to_row(law: Law) -> None:
    distribution, _, x = draw(law, 0.3, 5, seed=19)
    times = np.array([1e-3, 0.05, 0.3, 1.0, 4.0])
    alpha, h = np.exp(-times / 2), -np.expm1(-times)
    f, log_p = distribution.posterior_mean(x, alpha, h), distribution.log_marginal(x, alpha, h)
    assert log_p.shape == (5,)
    for i in range(5):
        row = x[i : i + 1], float(alpha[i]), float(h[i])
        np.testing.assert_allclose(f[i : i + 1], distribution.posterior_mean(*row), rtol=1e-12)
        np.testing.assert_allclose(log_p[i : i + 1], distribution.log_marginal(*row), rtol=1e-12)


def test_one_gaussian_is_linear() -> None:
    law = GaussianMixture(dimension=3, components=1, std=0.4, seed=1)
    distribution, x0, x = draw(law, 0.5, 100_000, seed=20)
    alpha, h = at_time(0.5)
    v = alpha**2 * 0.16 + h
    mean = distribution.posterior_mean(np.zeros((1, 3)), 0.0, 1.0)
    f = distribution.posterior_mean(x, alpha, h)
    np.testing.assert_allclose(f, mean + alpha * 0.16 / v * (x - alpha * mean), atol=1e-12)
    assert distribution.second_moment == pytest.approx(float((mean**2).sum()) + 3 * 0.16)
    error = ((x0 - f) ** 2).sum(axis=1, keepdims=True)
    assert np.abs(z_scores(error - 3 * 0.16 * h / v)).max() < Z_MAX


# --- limits, tails, bounds ----------------------------------------------------------------------


@EVERY_LAW
def test_early_times_return_the_point(law: Law) -> None:
    distribution, x0, _ = draw(law, 1.0, 200, seed=21)
    h = 1e-10
    alpha = math.sqrt(1 - h)
    f = distribution.posterior_mean(alpha * x0, alpha, h)
    np.testing.assert_allclose(f, x0, atol=10 * math.sqrt(h))


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_early_times_project_on_the_support(dimension: int) -> None:
    h = 1e-10
    alpha = math.sqrt(1 - h)
    x = np.random.default_rng(22).normal(size=(100, dimension))
    atoms = make_distribution(Atoms(dimension=dimension, count=12, seed=3))
    points = np.unique(atoms.sample(1000, np.random.default_rng(0)), axis=0)
    assert points.shape == (12, dimension)
    nearest = points[((x[:, None] / alpha - points) ** 2).sum(axis=2).argmin(axis=1)]
    np.testing.assert_allclose(atoms.posterior_mean(x, alpha, h), nearest, atol=1e-9)
    cube = make_distribution(Cube(dimension=dimension))
    np.testing.assert_allclose(cube.posterior_mean(x, alpha, h), np.clip(x, -1, 1), atol=1e-4)
    sphere = make_distribution(Sphere(dimension=dimension, radius=2.0))
    onto = 2 * x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(sphere.posterior_mean(x, alpha, h), onto, atol=1e-7)


@EVERY_LAW
def test_late_times_return_the_mean(law: Law) -> None:
    distribution, _, x = draw(law, 30.0, 50, seed=23)
    mean = distribution.posterior_mean(np.zeros((1, law.dimension)), 0.0, 1.0)
    for t in (30.0, 80.0, 2000.0):  # at 2000, alpha = 0 in floating point
        f = distribution.posterior_mean(x, *at_time(t))
        np.testing.assert_allclose(f - mean, 0, atol=40 * math.exp(-t / 2) + 1e-15)
    normal = -(x**2).sum(axis=1) / 2 - law.dimension / 2 * math.log(2 * math.pi)
    np.testing.assert_allclose(distribution.log_marginal(x, 0.0, 1.0), normal, rtol=1e-12)


@EVERY_LAW
@pytest.mark.parametrize("h", [1e-12, 1e-6, 0.05, 0.95])
def test_tails_are_finite_and_reach_the_edge(law: Law, h: float) -> None:
    distribution = make_distribution(law)
    alpha = math.sqrt(1 - h)
    direction = np.random.default_rng(24).normal(size=(20, law.dimension))
    for scale in (1e2, 1e6, 1e12, 1e50):
        x = scale * direction
        f = distribution.posterior_mean(x, alpha, h)
        assert np.all(np.isfinite(f))
        log_p = distribution.log_marginal(x, alpha, h)
        assert np.all(np.isfinite(log_p))
        assert np.all(log_p < 0)
        assert np.all(np.linalg.norm(f, axis=1) <= distribution.support_radius * (1 + 1e-12))
    if isinstance(law, Cube):
        np.testing.assert_allclose(f, np.sign(x), rtol=1e-12)
    if isinstance(law, Sphere):
        onto = x / np.linalg.norm(x, axis=1, keepdims=True)
        np.testing.assert_allclose(f, law.radius * onto, rtol=1e-12)
    if isinstance(law, Atoms):
        points = np.unique(distribution.sample(1000, np.random.default_rng(0)), axis=0)
        np.testing.assert_allclose(f, points[(x @ points.T).argmax(axis=1)], rtol=1e-12)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.sampled_from(LAWS),
    st.lists(st.floats(-1e8, 1e8), min_size=5, max_size=5),
    st.floats(-12, -1e-3).map(lambda power: 10**power),
)
def test_posterior_means_stay_in_the_hull(law: Law, x: list[float], h: float) -> None:
    distribution = make_distribution(law)
    row = np.array([x[: law.dimension]])
    alpha = math.sqrt(1 - h)
    f = distribution.posterior_mean(row, alpha, h)
    assert np.all(np.isfinite(f))
    assert np.all(np.isfinite(distribution.log_marginal(row, alpha, h)))
    assert np.linalg.norm(f) <= distribution.support_radius * (1 + 1e-12)
    if isinstance(law, Cube):
        assert np.all(np.abs(f) <= 1 + 1e-14)
    if isinstance(law, Atoms):
        points = distribution.sample(1000, np.random.default_rng(0))
        assert np.all((f >= points.min(axis=0) - 1e-12) & (f <= points.max(axis=0) + 1e-12))
    if isinstance(law, GaussianMixture):
        v = alpha**2 * law.std**2 + h
        shrunk = alpha * law.std**2 / v * row
        slack = 1e-12 * np.abs(shrunk)  # the means lie in [-1, 1]^d
        assert np.all(np.abs(f - shrunk) <= h / v * (1 + 1e-12) + slack)


# --- construction -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "law",
    [
        GaussianMixture(dimension=2),
        Atoms(dimension=2),
        Subspace(dimension=3, inner=Cube(dimension=2)),
        Subspace(dimension=2, inner=Cube(dimension=2)),
    ],
)
def test_the_seed_decides_the_law(law: Any) -> None:
    first, again = (make_distribution(law).sample(50, np.random.default_rng(0)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = make_distribution(law.model_copy(update={"seed": 1}))
    assert not np.allclose(first, other.sample(50, np.random.default_rng(0)))


def test_laws_are_drawn_where_they_should() -> None:
    """Centres uniform on [-1, 1]^d; bases uniform: over seeds, entries have mean 0, square 1/d."""
    laws: list[Law] = [GaussianMixture(dimension=2, components=500), Atoms(dimension=2, count=500)]
    for law in laws:
        means = make_distribution(law)._means  # type: ignore[attr-defined]
        assert np.abs(means).max() <= 1
        assert np.abs(z_scores(np.hstack([means, means**2 - 1 / 3]))).max() < Z_MAX
    shapes = [Subspace(dimension=3, inner=Cube(dimension=2), seed=seed) for seed in range(500)]
    bases = np.array([make_distribution(law)._basis for law in shapes])  # type: ignore[attr-defined]
    np.testing.assert_allclose(
        np.einsum("sdk,sdl->skl", bases, bases), [np.eye(2)] * 500, atol=1e-14
    )
    entries = bases.reshape(500, -1)
    assert np.abs(z_scores(np.hstack([entries, entries**2 - 1 / 3]))).max() < Z_MAX


def test_subspace_geometry() -> None:
    # all of R^d: a rotation, which the sphere does not feel and the cube undoes
    x = np.random.default_rng(25).normal(size=(30, 3))
    alpha, h = at_time(0.3)
    for inner in (Sphere(dimension=3, radius=1.2), Cube(dimension=3)):
        plain: Any = make_distribution(inner)
        turned: Any = make_distribution(Subspace(dimension=3, inner=inner, seed=8))
        q = turned._basis if isinstance(inner, Cube) else np.eye(3)
        np.testing.assert_allclose(
            turned.posterior_mean(x @ q.T, alpha, h),
            plain.posterior_mean(x, alpha, h) @ q.T,
            atol=1e-13,
        )
        np.testing.assert_allclose(
            turned.log_marginal(x @ q.T, alpha, h), plain.log_marginal(x, alpha, h), rtol=1e-12
        )
    # a plane: samples lie in it, and so does f*, which ignores the rest of x
    flat: Any = make_distribution(Subspace(dimension=3, inner=Cube(dimension=2), seed=9))
    assert np.linalg.matrix_rank(flat.sample(50, np.random.default_rng(0))) == 2
    normal = np.cross(flat._basis[:, 0], flat._basis[:, 1])
    f = flat.posterior_mean(x, alpha, h)
    np.testing.assert_allclose(f @ normal, 0, atol=1e-14)
    np.testing.assert_allclose(flat.posterior_mean(x + 3 * normal, alpha, h), f, atol=1e-12)


@pytest.mark.slow
def test_many_atoms_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = make_distribution(Atoms(dimension=2, count=100_000))
    x = np.random.default_rng(26).normal(size=(600, 2))
    alpha, h = at_time(0.05)
    tracemalloc.start()
    f, log_p = distribution.posterior_mean(x, alpha, h), distribution.log_marginal(x, alpha, h)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20  # 600 rows at once would take 460 MiB
    monkeypatch.setattr(mixture, "_BLOCK_BYTES", 2**21)
    np.testing.assert_allclose(distribution.posterior_mean(x, alpha, h), f, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(distribution.log_marginal(x, alpha, h), log_p, rtol=1e-10)
    # so many uniform points look like the cube
    cube = make_distribution(Cube(dimension=2)).posterior_mean(x, alpha, h)
    inside = np.abs(x).max(axis=1) < 1
    assert np.abs(f - cube)[inside].max() < 0.02


@EVERY_LAW
def test_wrong_arguments(law: Law) -> None:
    distribution = make_distribution(law)
    for method in (distribution.posterior_mean, distribution.log_marginal):
        with pytest.raises(ValueError, match=rf"it must be \[n, {law.dimension}\]"):
            method(np.zeros((3, law.dimension + 1)), 0.9, 0.19)
        with pytest.raises(ValueError, match="h must be positive"):
            method(np.zeros((3, law.dimension)), 1.0, np.array([0.1, 0.0, 0.1]))
