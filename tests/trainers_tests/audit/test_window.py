"""Which eigenvalues are fitted, and their bias, by closed forms and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from trainers.audit.window import less_bias, polynomials, window

INDEX = np.arange(1.0, 321.0)


def test_polynomials_are_counted() -> None:
    for dimension, degree in ((1, 1), (2, 3), (4, 2)):
        powers = itertools.product(range(degree + 1), repeat=dimension + 1)
        assert polynomials(dimension, degree) == sum(sum(p) <= degree for p in powers)


@pytest.mark.parametrize(("d", "first"), [(1, 4), (2, 5), (4, 7)])
def test_the_window_begins_after_the_linear_functions(d: int, first: int) -> None:
    assert window(d, INDEX, np.zeros(320)) == (first, 320)


def test_the_window_ends_where_sampling_has_moved_eigenvalues_by_a_tenth() -> None:
    assert window(2, INDEX, 2.36 * INDEX / 8192) == (5, 320)
    assert window(2, INDEX, INDEX / 1000) == (5, 100)
    # only the run up to the first one beyond counts
    dip = np.where(INDEX > 200, 0.0, INDEX / 1000)
    assert window(2, INDEX, dip) == (5, 100)


def test_too_few_degrees_leave_a_range_that_no_verdict_takes() -> None:
    for d, bias in ((2, INDEX / 500), (4, 4.53 * INDEX / 8192), (8, 8.7 * INDEX / 8192)):
        first, last = window(d, INDEX, bias)
        assert last / first == pytest.approx(3, abs=0.2)
    assert window(2, INDEX, np.ones(320)) == (1, 1)


def test_what_goes_as_one_over_n_is_taken_out_exactly() -> None:
    truth, bias = INDEX**-1.3, 5 * INDEX**-0.3
    whole, parts = truth + bias / 8000, truth + bias / 2000
    np.testing.assert_allclose(less_bias(whole, parts, 4), truth, rtol=1e-12)


@pytest.mark.slow
def test_the_bias_of_a_sample_of_gaussian_features_goes() -> None:
    """Independent route: for eigenvalues i^-b the share is -(pi/b) cot(pi/b) i/N to first order
    (Lawley 1956, its sum over all other eigenvalues a principal value)."""
    b, n, replicates, band = 4 / 3, 1024, 8, slice(15, 24)
    rng = np.random.default_rng(1)
    scale = np.arange(1.0, 4001.0) ** (-b / 2)
    index = np.arange(16, 25)
    found = {"whole": 0.0, "less": 0.0}
    for _ in range(replicates):
        features = rng.standard_normal((n, len(scale))) * scale
        gram = features @ features.T
        whole = np.linalg.eigvalsh(gram)[::-1][band] / n
        quarters = [slice(k, k + n // 4) for k in range(0, n, n // 4)]
        parts = [np.linalg.eigvalsh(gram[q, q])[::-1][band] / (n // 4) for q in quarters]
        less = less_bias(whole, np.mean(parts, axis=0), 4)
        for name, values in (("whole", whole), ("less", less)):
            found[name] += float(np.mean(values * index**b - 1)) / replicates
    expected = float(np.mean(-np.pi / b / np.tan(np.pi / b) * index / n))
    assert expected == pytest.approx(0.046, abs=0.001)
    assert found["whole"] == pytest.approx(expected, abs=0.014)  # standard error 0.004
    assert found["less"] == pytest.approx(0, abs=0.018)
