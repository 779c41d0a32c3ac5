from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainers.kernel.lanczos import block_lanczos
from trainers.kernel.ntk import relu_ntk
from trainers.kernel.product import KernelProduct
from trainers.kernel.solution import (
    KernelDescent,
    decompose,
    descent_filter,
    residual_filter,
)
from trainers.network.passes import compiler_problem

Array = NDArray[np.float64]


def problem(n: int, d: int = 2, seed: int = 0, points: int = 60) -> tuple[Array, Array, Array]:
    """Features, labels (noisy, clean and tiny ones, dependent on each other) and points."""
    rng = np.random.default_rng([seed, n, d])
    x = rng.standard_normal((n + points, d))
    z = np.column_stack([x, rng.uniform(0, 1, n + points), np.ones(n + points)])
    clean = np.tanh(2 * x)
    noisy = clean + 0.5 * rng.standard_normal(x.shape)
    labels = np.hstack([noisy, clean, noisy - clean, 1e-4 * np.sin(x)])
    return z[:n], labels[:n], z[n:]


def descent(
    z: Array, labels: Array, points: Array, route: str = "eigen", **options: float
) -> KernelDescent:
    kernel = KernelProduct(z, path="blocked", store=route == "eigen")
    return decompose(z, labels, points, route, kernel=kernel, **options)  # type: ignore[arg-type]


def relative(a: Array, b: Array) -> float:
    """The largest relative difference over steps and labels, in the norm over the points."""
    size = np.maximum(np.linalg.norm(b, axis=-1), np.finfo(float).tiny)
    return float(np.max(np.linalg.norm(a - b, axis=-1) / size))


def iterated(
    z: Array, labels: Array, points: Array, steps: list[int], step_size: float
) -> tuple[Array, Array]:
    """Kernel descent run step by step on weights q: at the points [R, L, n], and the data."""
    K, cross = relu_ntk(z, z), relu_ntk(points, z)
    q, kept = np.zeros_like(labels), {}
    for step in range(max(steps) + 1):
        kept[step] = q
        q = q + step_size / len(z) * (labels - K @ q)
    weights = [kept[step] for step in steps]
    return np.array([(cross @ w).T for w in weights]), np.array([(K @ w).T for w in weights])


# --- the filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("step_size", [1e-3, 1.0, 3.9])
@pytest.mark.parametrize("tau", [1, 2, 7, 1000, 10**6])
def test_filter_against_high_precision(step_size: float, tau: int) -> None:
    n = 100
    values = np.array([1e-17, 1e-9, 1e-3, 1.0, 24.0, n / step_size, 50.0])
    values = values[values * step_size / n < 2]
    phi = descent_filter(values, [tau], step_size, n)[0]
    kept = residual_filter(values, [tau], step_size, n)[0]
    with mpmath.workdps(60):
        for lam, ours, left in zip(values, phi, kept, strict=True):
            x = mpmath.mpf(step_size) * mpmath.mpf(float(lam)) / n
            power = (1 - x) ** tau
            assert ours == pytest.approx(float((1 - power) / mpmath.mpf(float(lam))), rel=1e-11)
            assert left == pytest.approx(float(power), rel=1e-9, abs=1e-12)


def test_filter_limits() -> None:
    steps = [0, 5, math.inf]
    phi = descent_filter([0.0, 2.0], steps, 1.0, 10)
    np.testing.assert_allclose(phi, [[0, 0], [0.5, (1 - 0.8**5) / 2], [0, 0.5]], rtol=1e-15)
    kept = residual_filter([0.0, 2.0], steps, 1.0, 10)
    np.testing.assert_allclose(kept, [[1, 1], [1, 0.8**5], [1, 0]], rtol=1e-15)


def test_filter_at_the_edge_of_stability() -> None:
    phi = descent_filter([10.0, 20.0], [3, 4], 1.0, 10)  # eta l / N = 1 and 2
    np.testing.assert_allclose(phi, [[0.1, 0.1], [0.1, 0.0]], atol=1e-16)


# --- the routes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 6])
def test_the_routes_agree_with_iteration(d: int) -> None:
    z, labels, points = problem(150, d)
    eigen = descent(z, labels, points)
    lanczos = descent(z, labels, points, "lanczos", horizon=1000.0)
    assert lanczos.products < 20
    steps = [0, 1, 2, 5, 17, 60, 200, 250]
    for step_size in (0.3, 1.0, 0.99 * eigen.largest_step_size):
        exact = eigen.at(steps, step_size)
        krylov = lanczos.at(steps, step_size)
        at_points, at_data = iterated(z, labels, points, steps, step_size)
        for made in (exact, krylov):
            assert not made.diverged.any()
            assert made.data is not None
            assert relative(made.evaluation, at_points) < 1e-8
            assert relative(made.data, at_data) < 1e-8


def test_against_descent_written_out() -> None:
    # f_{tau+1}(z) = f_tau(z) - eta/N sum_j kappa(z, z_j) (f_tau(z_j) - y_j), in plain numpy.
    z, labels, points = problem(40)
    K, cross = relu_ntk(z, z), relu_ntk(points, z)
    fit, out = np.zeros_like(labels), np.zeros((len(points), labels.shape[1]))
    for _ in range(30):
        error = (fit - labels) / len(z)
        fit, out = fit - 0.7 * K @ error, out - 0.7 * cross @ error
    for route in ("eigen", "lanczos"):
        got = descent(z, labels, points, route).at([30], 0.7)
        assert relative(got.evaluation[0], out.T) < 1e-9
        assert relative(got.data[0], fit.T) < 1e-9  # type: ignore[index]


@pytest.mark.compiled
@pytest.mark.slow
def test_fused_stored_and_tiled_products_are_the_same() -> None:
    z, _, points = problem(1100)
    V = torch.as_tensor(np.random.default_rng(0).standard_normal((3, 1100)))
    K, cross = relu_ntk(z, z), relu_ntk(points, z)
    paths = ["blocked"] if compiler_problem("cpu") else ["blocked", "fused"]
    for path in paths:
        for store in (True, False):
            kernel = KernelProduct(z, path=path, store=store)
            np.testing.assert_allclose(kernel(V).numpy(), V.numpy() @ K, rtol=1e-11, atol=1e-10)
            np.testing.assert_allclose(
                kernel.at(points, V).numpy(), V.numpy() @ cross.T, rtol=1e-11, atol=1e-10
            )
            assert kernel.products == 1
            gram = kernel.gram().numpy()
            assert np.array_equal(gram, gram.T)
            np.testing.assert_allclose(gram, K, rtol=1e-13, atol=1e-14)


@pytest.mark.compiled
def test_compiler_is_used_where_there_is_one() -> None:
    expected = "blocked" if compiler_problem("cpu") else "fused"
    assert KernelProduct(problem(20)[0]).path == expected


# --- limits ---------------------------------------------------------------------------------------


def test_starts_at_zero_and_ends_at_the_interpolant() -> None:
    z, labels, points = problem(50)
    got = descent(z, labels, points).at([0, math.inf], 1.0)
    assert not got.evaluation[0].any()
    ridgeless = relu_ntk(points, z) @ np.linalg.solve(relu_ntk(z, z), labels)
    assert relative(got.evaluation[1], ridgeless.T) < 1e-9
    assert got.data is not None
    assert relative(got.data[1], labels.T) < 1e-9


def test_duplicate_points_and_points_at_the_origin() -> None:
    # A singular K: copies with other labels, and z = 0. The interpolant is the pseudo-inverse's.
    z, labels, points = problem(40)
    z = np.concatenate([z, z[:10], np.zeros((3, 4))])
    labels = np.concatenate([labels, -labels[:10], np.ones((3, labels.shape[1]))])
    steps = [0, 1, 10, 100, 1000]
    eigen = descent(z, labels, points)
    for got in (eigen.at(steps, 1.0), descent(z, labels, points, "lanczos").at(steps, 1.0)):
        assert np.isfinite(got.evaluation).all()
        assert relative(got.evaluation, eigen.at(steps, 1.0).evaluation) < 1e-8
    limit = eigen.at([math.inf], 1.0)
    pseudo = relu_ntk(points, z) @ np.linalg.pinv(relu_ntk(z, z), rcond=1e-12) @ labels
    assert relative(limit.evaluation[0], pseudo.T) < 1e-8
    averaged = (labels[:10] + labels[40:50]) / 2
    np.testing.assert_allclose(limit.data[0].T[:10], averaged, atol=1e-8)  # type: ignore[index]
    np.testing.assert_allclose(eigen.at([50], 1.0).data[0].T[50:], 0.0, atol=1e-12)  # type: ignore[index]


@pytest.mark.parametrize("route", ["eigen", "lanczos"])
def test_divergence_is_reported_not_raised(route: str) -> None:
    z, labels, points = problem(60)
    made = descent(z, labels, points, route, horizon=1e8)
    safe, over = 0.99 * made.largest_step_size, 1.05 * made.largest_step_size
    assert not made.at([0, 5000], safe).diverged.any()
    got = made.at([0, 10, 100_000], over)
    np.testing.assert_array_equal(got.diverged, [False, True, True])
    assert np.isfinite(got.evaluation[:2]).all()
    assert not np.isnan(got.evaluation).any()
    assert np.isinf(got.evaluation[2]).any()
    growing = made.residuals([0, 50, 100, 100_000], over)[:, 0]
    assert growing[0] < growing[1] < growing[2] < growing[3] == math.inf


def test_labels_of_zeros_and_a_single_sample() -> None:
    z, labels, points = problem(1)
    single = descent(z, labels, points, "lanczos").at([0, 3, math.inf], 1.0)
    kernel = relu_ntk(points, z)[:, 0]
    value = float(np.sum(z**2)) / 2
    for row, weight in zip(single.evaluation, [0, (1 - (1 - value) ** 3) / value], strict=False):
        np.testing.assert_allclose(row, np.outer(labels[0], kernel) * weight, rtol=1e-12)
    z, labels, points = problem(30)
    nothing = descent(z, 0 * labels, points, "lanczos")
    assert not nothing.at([0, 10], 1.0).evaluation.any()
    assert not nothing.residuals([0, 10], 1.0).any()
    assert np.isnan(nothing.complexity([1.0])).all()  # no basis: nothing known of the spectrum


# --- what comes without predictions ---------------------------------------------------------------


@pytest.mark.parametrize("route", ["eigen", "lanczos"])
def test_residual_norms_need_no_basis(route: str) -> None:
    z, labels, points = problem(120)
    made = descent(z, labels, points, route)
    lean = descent(z, labels, points, route, keep_data=False)
    got = made.at([0, 3, 50, 800], 1.0)
    assert lean.at([0], 1.0).data is None
    assert got.data is not None
    direct = np.mean((labels.T - got.data) ** 2, axis=-1)
    np.testing.assert_allclose(lean.residuals([0, 3, 50, 800], 1.0), direct, rtol=1e-7)
    mix = np.random.default_rng(0).standard_normal((labels.shape[1], 2))
    direct = np.mean((mix.T @ (labels.T - got.data)) ** 2, axis=-1)
    np.testing.assert_allclose(made.residuals([0, 3, 50, 800], 1.0, mix), direct, rtol=1e-7)


def test_spectrum_and_complexity() -> None:
    z, labels, points = problem(200)
    eigen = descent(z, labels, points)
    values = np.linalg.eigvalsh(relu_ntk(z, z))[::-1]
    np.testing.assert_allclose(eigen.spectrum, values, rtol=1e-8, atol=1e-12)
    assert eigen.largest_step_size == pytest.approx(2 * 200 / values[0])
    times = np.array([0.0, 0.5, 10.0, 300.0, 1e6])
    with np.errstate(divide="ignore"):
        direct = np.sqrt(np.minimum(values / 200, 1 / times[:, None]).sum(1) / 200)
    np.testing.assert_allclose(eigen.complexity(times), direct, rtol=1e-10)
    krylov = descent(z, labels, points, "lanczos", horizon=1000.0)
    upper = krylov.complexity(times)
    np.testing.assert_allclose(upper[:4], direct[:4], rtol=1e-6)
    assert np.isnan(upper[4])  # far beyond what these Ritz values resolve: unknown, not wrong
    with pytest.raises(ValueError, match="route='eigen'"):
        _ = krylov.spectrum


def test_lanczos_knows_its_horizon() -> None:
    z, labels, points = problem(300)
    few = descent(z, labels, points, "lanczos", max_products=6)
    assert few.products == 6
    assert 0 < few.horizon < 1e4
    exact = descent(z, labels, points)
    steps = [1, int(few.horizon)]
    assert relative(few.at(steps, 1.0).evaluation, exact.at(steps, 1.0).evaluation) < 1e-8
    with pytest.raises(ValueError, match="beyond the horizon"):
        few.at([10_000], 1.0)


def test_auto_falls_back_on_the_eigendecomposition() -> None:
    z, labels, points = problem(600)
    kernel = KernelProduct(z, path="blocked")
    assert descent(z, labels, points, "auto").route == "lanczos"
    late = decompose(z, labels, points, kernel=kernel, max_products=4)
    assert late.route == "eigen"
    assert late.horizon == math.inf
    small = problem(100)
    assert descent(*small, "auto").route == "eigen"


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9])
def test_lanczos_error_is_no_larger_than_its_estimate(tolerance: float) -> None:
    z, labels, points = problem(400)
    krylov = descent(z, labels, points, "lanczos", horizon=3000.0, tolerance=tolerance)
    exact = descent(z, labels, points)
    assert krylov.error <= tolerance
    steps = [1, 10, 100, 1000, 3000]
    got = relative(krylov.at(steps, 1.0).evaluation, exact.at(steps, 1.0).evaluation)
    assert got <= krylov.error


def test_block_lanczos_on_a_matrix_with_known_spectrum() -> None:
    rng = np.random.default_rng(8)
    Q, _ = np.linalg.qr(rng.standard_normal((60, 60)))
    values = np.repeat([4.0, 1.0, 0.25, 0.0], 15)  # four eigenvalues: exhausted in four blocks
    K = torch.as_tensor((Q * values) @ Q.T)
    labels = torch.as_tensor(rng.standard_normal((2, 60)))
    labels = torch.cat([labels, labels.sum(0, keepdim=True), torch.zeros(1, 60)])
    found = block_lanczos(lambda v: v @ K, labels, lambda *_: math.inf, 0.0, 50)
    assert found.exhausted
    np.testing.assert_allclose(found.values, [0, 0, 0.25, 0.25, 1, 1, 4, 4], atol=1e-12)
    V = found.vectors.numpy()
    np.testing.assert_allclose(V @ V.T, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(found.coefficients.T @ V, labels.numpy(), atol=1e-12)


def test_wrong_arguments_are_named() -> None:
    z, labels, points = problem(20)
    with pytest.raises(ValueError, match="labels must be"):
        decompose(z, labels[:5], points)
    with pytest.raises(ValueError, match="finite"):
        decompose(z, np.where(labels > 0, np.nan, labels), points)
    with pytest.raises(ValueError, match="unknown"):
        decompose(z, labels, points, "magic")  # type: ignore[arg-type]
    made = descent(z, labels, points)
    with pytest.raises(ValueError, match="step_size > 0"):
        made.at([1], 0.0)
    with pytest.raises(ValueError, match="step_size > 0"):
        made.at([-1], 1.0)
