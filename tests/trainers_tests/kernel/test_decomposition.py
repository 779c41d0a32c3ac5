from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from trainers.kernel.ntk import relu_ntk
from trainers.kernel.solution import decompose
from trainers.kernel.terms import (
    KernelReference,
    RidgeFamily,
    RkhsElement,
    evaluate,
    mean_square,
    source_capacity,
)

Array = NDArray[np.float64]
STEPS = [0, 1, 4, 20, 100, 400]


def draw(n: int, seed: int, d: int = 2) -> tuple[Array, Array]:
    """Features [n, d + 2] and the target at them [n, d]."""
    rng = np.random.default_rng([seed, n, d])
    x = rng.standard_normal((n, d))
    return np.column_stack([x, rng.uniform(0, 1, n), np.ones(n)]), np.tanh(2 * x)


@pytest.fixture(scope="module")
def family() -> RidgeFamily:
    return RidgeFamily(*draw(200, 1))


@pytest.fixture(scope="module")
def elements(family: RidgeFamily) -> list[RkhsElement]:
    return [family.element(norm) for norm in (1.0, 10.0)]


def reference(elements: list[RkhsElement], route: str = "eigen", n: int = 150) -> KernelReference:
    z, fstar = draw(n, 2)
    x0 = fstar + 0.4 * np.random.default_rng(3).standard_normal(fstar.shape)
    return KernelReference.build(
        z,
        x0,
        fstar,
        draw(80, 4)[0],
        elements,
        route=route,  # type: ignore[arg-type]
        horizon=1000.0,
    )


# --- f_H ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_element_has_the_norm_asked_for(family: RidgeFamily) -> None:
    for norm in (0.01, 1.0, 10.0):
        f = family.element(norm)
        K = relu_ntk(f.points, f.points)
        direct = np.einsum("id,ij,jd->d", f.weights, K, f.weights)
        np.testing.assert_allclose(direct, norm, rtol=1e-9)
        np.testing.assert_allclose(f.norms, norm, rtol=1e-10)
        assert f.constrained.all()
        # It is ridge regression: (K + ridge) weights = targets.
        for i in range(2):
            fit = K @ f.weights[:, i] + f.ridges[i] * f.weights[:, i]
            np.testing.assert_allclose(fit, draw(200, 1)[1][:, i], atol=1e-9)


def test_element_is_the_best_in_its_ball(family: RidgeFamily) -> None:
    # No other function of the same norm fits the clean points better: perturb and rescale.
    f = family.element(2.0)
    z, target = draw(200, 1)
    K = relu_ntk(z, z)
    rng = np.random.default_rng(5)
    best = np.sum((K @ f.weights - target) ** 2, axis=0)
    for size in (1e-3, 1e-1, 1.0):
        w = f.weights + size * np.linalg.norm(f.weights) / 20 * rng.standard_normal((200, 2))
        w *= np.sqrt(2.0 / np.einsum("id,ij,jd->d", w, K, w))
        assert np.all(np.sum((K @ w - target) ** 2, axis=0) > best)


def test_a_target_inside_the_ball_is_recovered() -> None:
    # f* = kappa(., z_0) has norm kappa(z_0, z_0): a larger R_H does not bind, and f_H = f*.
    z, _ = draw(60, 6)
    target = relu_ntk(z, z[:1])
    norm = float(np.sum(z[0] ** 2)) / 2
    family = RidgeFamily(z, target)
    loose = family.element(2 * norm)
    assert not loose.constrained[0]
    assert loose.ridges[0] == family.smallest_ridge
    assert loose.norms[0] == pytest.approx(norm, rel=1e-6)
    points = draw(30, 7)[0]
    np.testing.assert_allclose(loose(points), relu_ntk(points, z[:1]), atol=1e-6)
    assert family.element(0.5 * norm).constrained[0]


def test_approximation_falls_with_the_norm(family: RidgeFamily) -> None:
    z, fstar = draw(500, 8)
    values = evaluate([family.element(r) for r in (0.1, 1.0, 5.0, 20.0)], z)
    errors = mean_square(values - fstar)
    assert np.all(np.diff(errors) < 0)
    np.testing.assert_allclose(values[1], family.element(1.0)(z), atol=1e-11)


def test_wrong_norms_and_families_are_named(family: RidgeFamily) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        family.element(0.0)
    other = RidgeFamily(*draw(20, 9)).element(1.0)
    with pytest.raises(ValueError, match="one RidgeFamily"):
        evaluate([family.element(1.0), other], draw(3, 0)[0])


# --- the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["eigen", "lanczos"])
def test_reference_is_descent_on_each_kind_of_label(
    elements: list[RkhsElement], route: str
) -> None:
    made = reference(elements, route)
    assert made.descent.route == route
    got = made.at(STEPS, 1.0)
    assert got.kernel.shape == (6, 80, 2)
    assert got.surrogate.shape == (2, 6, 80, 2)
    noise = made.x0 - made.fstar
    wanted = [
        (got.kernel, made.x0),
        (got.clean, made.fstar),
        (got.noise, noise),
        (got.surrogate[0], elements[0](made.z) + noise),
        (got.surrogate[1], elements[1](made.z) + noise),
    ]
    for ours, labels in wanted:
        direct = decompose(made.z, labels, made.eval_points, "eigen").at(STEPS, 1.0)
        np.testing.assert_allclose(ours, direct.evaluation.transpose(0, 2, 1), atol=1e-8)
    fit = decompose(made.z, made.x0, made.eval_points, "eigen").at(STEPS, 1.0).data
    assert fit is not None
    loss = np.sum((fit.transpose(0, 2, 1) - made.x0) ** 2, axis=(1, 2)) / (2 * 150)
    np.testing.assert_allclose(got.train_loss, loss, rtol=1e-8)
    np.testing.assert_allclose(made.elements[1], elements[1](made.eval_points))


@pytest.mark.parametrize("route", ["eigen", "lanczos"])
def test_start_from_a_network_that_is_not_zero(elements: list[RkhsElement], route: str) -> None:
    # Gradient descent in function space from f_0, written out, on each kind of label.
    made = reference(elements, route, n=40)
    f0_data, f0_eval = np.sin(made.z[:, :2]), np.sin(made.eval_points[:, :2])
    got = made.at([0, 25], 1.0, made.start(f0_data, f0_eval))
    K, cross = relu_ntk(made.z, made.z), relu_ntk(made.eval_points, made.z)

    def run(labels: Array) -> tuple[Array, Array]:
        fit, out = f0_data, f0_eval
        for _ in range(25):
            error = (fit - labels) / 40
            fit, out = fit - K @ error, out - cross @ error
        return fit, out

    noise = made.x0 - made.fstar
    fit, out = run(made.x0)
    np.testing.assert_allclose(got.kernel[1], out, atol=1e-8)
    assert got.train_loss[1] == pytest.approx(np.sum((fit - made.x0) ** 2) / 80, rel=1e-8)
    np.testing.assert_allclose(got.clean[1], run(made.fstar)[1], atol=1e-8)
    surrogate = run(elements[1](made.z) + noise)[1]
    np.testing.assert_allclose(got.surrogate[1, 1], surrogate, atol=1e-8)
    np.testing.assert_allclose(got.kernel[0], f0_eval, atol=1e-14)
    np.testing.assert_allclose(got.surrogate[0, 0], f0_eval, atol=1e-14)


@pytest.mark.parametrize("route", ["eigen", "lanczos"])
def test_reference_survives_a_file(elements: list[RkhsElement], route: str) -> None:
    made = reference(elements, route)
    file = io.BytesIO()
    np.savez(file, **made.to_arrays())  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file) as arrays:
        back = KernelReference.from_arrays(dict(arrays))
    for ours, theirs in zip(
        vars(made.at(STEPS, 0.5)).values(), vars(back.at(STEPS, 0.5)).values(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert back.descent.route == route
    assert back.descent.horizon == made.descent.horizon
    np.testing.assert_array_equal(back.descent.complexity([3.0]), made.descent.complexity([3.0]))


def test_reference_without_norms_and_with_divergence() -> None:
    made = reference([])
    got = made.at([0, 10, 50_000], 1.01 * made.descent.largest_step_size)
    assert got.surrogate.shape == (0, 3, 80, 2)
    np.testing.assert_array_equal(got.diverged, [False, True, True])
    assert np.isinf(got.train_loss[2])
    assert not np.isnan(got.kernel[:2]).any()


def test_early_stopping_dominates_and_mismatch_is_smallest(elements: list[RkhsElement]) -> None:
    # At a late step noise is fitted: the early-stopping term outweighs the others.
    made = reference(elements)
    got = made.at(STEPS, 1.0)
    fstar = draw(80, 4)[1]
    last, surrogate, element = got.kernel[-1], got.surrogate[1, -1], made.elements[1]
    early_stopping = mean_square(surrogate - element)
    assert early_stopping > mean_square(element - fstar)
    assert early_stopping > mean_square(last - surrogate)


# --- bias and variance ----------------------------------------------------------------------------


def test_variance_is_that_of_its_closed_form() -> None:
    # With B = kappa(points, Z) U and G = B^T B / n, the expected mean square over the points of
    # kernel descent on noise with covariance D is sum_ik phi_i phi_k G_ik (U^T D U)_ik.
    z, _ = draw(60, 10)
    points = draw(40, 11)[0]
    rng = np.random.default_rng(12)
    level = rng.uniform(0.2, 2.0, 60)  # heteroscedastic
    draws = 4000
    xi = rng.standard_normal((60, draws)) * np.sqrt(level)[:, None]
    values = decompose(z, xi, points, "eigen").at(STEPS, 1.0).evaluation  # [R, draws, n]
    single = np.square(values).mean(-1)
    lam, U = np.linalg.eigh(relu_ntk(z, z))
    B = relu_ntk(points, z) @ U
    phi = (1 - (1 - lam / 60) ** np.array(STEPS)[:, None]) / lam
    mixed = (B.T @ B / 40) * (U.T @ (level[:, None] * U))
    exact = np.einsum("ri,ik,rk->r", phi, mixed, phi)
    error = single.std(1) / np.sqrt(draws)
    assert np.all(np.abs(single.mean(1) - exact) <= 4 * error + 1e-15)
    assert exact[0] == 0.0


# --- audit ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("b", "s"), [(1.3, 0.5), (1.5, 1.0), (2.0, 0.25)])
def test_source_and_capacity_recover_planted_exponents(b: float, s: float) -> None:
    i = np.arange(1, 20_001)
    values = i**-b
    coefficients = np.sqrt(i ** -(1 + s * b))[:, None] * np.array([[1.0, -0.5]])
    found = source_capacity(values, coefficients, last=1000)
    assert found.capacity == pytest.approx(b, rel=1e-9)
    assert found.source == pytest.approx(s, rel=0.01)
    assert found.rate == pytest.approx(s * b / (s * b + 1), rel=0.01)
    with pytest.raises(ValueError, match="too few"):
        source_capacity(values[:40], coefficients[:40])


def test_capacity_of_the_kernel_in_one_and_two_dimensions() -> None:
    # The law's eigenvalues fall as i^-((D+1)/D) with D = d + 1.
    for d, expected in ((1, 1.5), (2, 4 / 3)):
        z, fstar = draw(1000, 13, d)
        made = decompose(z, fstar, z[:2], "eigen")
        found = source_capacity(made.spectrum / 1000, made.coefficients[::-1])
        assert found.capacity == pytest.approx(expected, abs=0.35)
        assert found.source > 0
