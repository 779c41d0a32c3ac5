"""The largest eigenpairs against a full decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainers.kernel.leading import leading, spectrum_of_parts
from trainers.kernel.ntk import relu_ntk
from trainers.kernel.product import KernelProduct
from trainers.limits import BASIS

Array = NDArray[np.float64]
N, COUNT = 2048, 80


def points(n: int, d: int = 2) -> tuple[Array, Array]:
    """Features [n, d + 2] and two smooth targets."""
    rng = np.random.default_rng([n, d])
    x, t = rng.standard_normal((n, d)), rng.uniform(0, 1, n)
    return np.column_stack([x, t, np.ones(n)]), np.column_stack([np.tanh(2 * x[:, 0]), x[:, 1] * t])


@pytest.fixture(scope="module")
def kernel() -> KernelProduct:
    return KernelProduct(points(N)[0], store=True)


@pytest.mark.slow
def test_values_and_coefficients_are_those_of_the_full_decomposition(kernel: KernelProduct) -> None:
    targets = points(N)[1]
    found = leading(kernel, targets, COUNT)
    values, vectors = np.linalg.eigh(relu_ntk(points(N)[0], points(N)[0]))
    exact = values[::-1]
    assert BASIS * COUNT <= len(found.values) < N  # Lanczos, and no full decomposition
    assert found.certified == COUNT
    np.testing.assert_allclose(found.values[:COUNT], exact[:COUNT], rtol=1e-9)
    c = (vectors.T @ targets)[::-1]
    np.testing.assert_allclose(
        np.square(found.coefficients[:COUNT]), np.square(c[:COUNT]), atol=1e-7 * N
    )
    # an eigenvalue lies within the residual of each, and the residual is what it is said to be
    assert (np.abs(found.values[:COUNT] - exact[:COUNT]) <= found.residuals + 1e-9).all()
    assert found.residuals.max() < 1e-3 * found.values[COUNT - 1]
    assert found.square == pytest.approx(np.sum(exact**2), rel=1e-12)
    # all of the basis is a quadrature of what the targets hold
    for time in (1.0, 30.0, 1000.0):
        kept = np.exp(-time * found.values / N) @ np.square(found.coefficients)
        expected = np.exp(-time * exact / N) @ np.square(c)
        np.testing.assert_allclose(kept, expected, rtol=1e-10)


@pytest.mark.slow
def test_pairs_that_did_not_converge_are_not_certified(
    kernel: KernelProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.kernel.leading.BASIS", 1)
    found = leading(kernel, points(N)[1], COUNT)
    assert 0 < found.certified < COUNT
    exact = np.linalg.eigvalsh(kernel.gram().numpy())[::-1]
    kept = slice(found.certified)
    np.testing.assert_allclose(found.values[kept], exact[kept], rtol=1e-3)


def test_small_matrices_are_decomposed_in_full() -> None:
    z, targets = points(100)
    found = leading(KernelProduct(z, store=True), targets, 40)
    assert len(found.values) == 100
    assert found.certified == 40
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(relu_ntk(z, z))[::-1], rtol=1e-7)
    np.testing.assert_allclose(
        np.square(found.coefficients).sum(0), np.square(targets).sum(0), rtol=1e-12
    )


def test_spectrum_of_parts_is_the_mean_over_the_blocks_of_k() -> None:
    z = points(96)[0]
    K = torch.as_tensor(relu_ntk(z, z))
    expected = np.mean(
        [np.linalg.eigvalsh(relu_ntk(part, part))[::-1] / 32 for part in np.split(z, 3)], axis=0
    )
    np.testing.assert_allclose(spectrum_of_parts(K, 3, 10), expected[:10], rtol=1e-10)
