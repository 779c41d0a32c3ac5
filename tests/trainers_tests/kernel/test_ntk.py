from __future__ import annotations

import mpmath
import numpy as np
import pytest

from trainers.kernel.ntk import relu_ntk, relu_ntk_diagonal, unit_rows

# Computed once by neural-tangents 0.6.5 on jax 0.4.30 in float64, as the "ntk" of stax.serial of
# Dense(1, W_std=sqrt(k), b_std=None) and Relu(): W_std = sqrt(k) undoes that library's division by
# the input dimension. The whole network's NTK less its NNGP, which is what training the first
# layer alone leaves, gave the same to 2e-16.
NEURAL_TANGENTS = [
    (
        [[0.201, -1.407], [-0.735, 2.11], [0.765, -0.585]],
        [[0.52, 0.082], [0.198, -0.187]],
        [
            [-0.0026884390880340054, 0.11905383131068151],
            [-0.04634265299133592, -0.04115448440368316],
            [0.1298581916543945, 0.126115136187816],
        ],
    ),
    (
        [
            [-1.731, 2.048, 0.269, 0.147],
            [1.038, 0.468, -0.177, 0.042],
            [-0.462, -1.389, 1.846, -1.695],
        ],
        [[-0.524, 0.311, -0.4, -0.059], [0.109, 1.834, -0.225, 0.945]],
        [
            [0.5406672912469442, 1.3219720832666544],
            [-0.06138592360914822, 0.33868274007009574],
            [-0.15422158260938215, -0.5138408363580111],
        ],
    ),
    (
        [
            [0.22, 0.003, 2.062, -0.374, 0.286, -1.132, 1.202, -0.792, 1.02, 0.021],
            [1.536, -0.158, 0.896, -1.033, 2.533, 0.763, -0.66, 0.46, 0.688, -0.402],
            [-0.446, 0.613, -0.061, 1.4, -0.024, 0.099, -0.341, 0.953, -0.207, 1.389],
        ],
        [
            [1.508, 0.489, 0.115, 0.023, -0.718, -0.999, -0.936, -0.145, -0.618, -0.854],
            [-0.278, -1.6, 0.26, -2.765, 1.113, -0.38, 1.147, 0.371, -1.144, 0.776],
        ],
        [
            [-0.042177128018799845, 0.6127636740474846],
            [0.05241994337856711, 1.105300374965419],
            [-0.27932588978084605, -0.6600902849623413],
        ],
    ),
]


@pytest.mark.parametrize(("z1", "z2", "expected"), NEURAL_TANGENTS)
def test_agrees_with_an_independent_library(
    z1: list[list[float]], z2: list[list[float]], expected: list[list[float]]
) -> None:
    computed = relu_ntk(np.array(z1), np.array(z2))
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-14)


def _exact(a: np.ndarray, b: np.ndarray) -> mpmath.mpf:
    with mpmath.workdps(60):
        u, v = [mpmath.mpf(float(x)) for x in a], [mpmath.mpf(float(x)) for x in b]
        c = mpmath.fsum(x * y for x, y in zip(u, v, strict=True))
        size = mpmath.sqrt(mpmath.fsum(x * x for x in u) * mpmath.fsum(x * x for x in v))
        theta = mpmath.acos(max(mpmath.mpf(-1), min(mpmath.mpf(1), c / size)))
        return c * (mpmath.pi - theta) / (2 * mpmath.pi)


@pytest.mark.parametrize("k", [1, 2, 4, 12])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("apart", [1.0, 1e-3, 1e-6, 1e-9, 1e-13])
def test_keeps_its_digits_for_nearly_parallel_and_opposite_inputs(
    k: int, sign: int, apart: float
) -> None:
    rng = np.random.default_rng([k, sign + 1])
    for _ in range(5):
        a = rng.standard_normal(k)
        b = sign * a + apart * rng.standard_normal(k)
        error = float(abs(relu_ntk(a[None], b[None])[0, 0] - _exact(a, b)))
        assert error <= 5e-16 * np.linalg.norm(a) * np.linalg.norm(b)


def test_is_the_average_over_neurons() -> None:
    # The same expectation by simulation: E 1[w.z > 0] 1[w.z' > 0] z.z', at growing widths.
    rng = np.random.default_rng(3)
    z = rng.standard_normal((6, 4))
    exact = relu_ntk(z, z)
    scale = np.abs(z @ z.T)
    for m in (2_000, 32_000, 512_000):
        active = (z @ rng.standard_normal((4, m)) > 0).astype(float)
        share = active @ active.T / m
        # Standard deviation of a share is at most 1/(2 sqrt m).
        assert np.all(np.abs(share * (z @ z.T) - exact) <= 4.5 * scale / (2 * np.sqrt(m)))


def test_is_the_arc_cosine_kernel_in_its_other_form() -> None:
    # z.z' (pi - theta) = |z||z'| (J_1 - sin theta) with the kernel of order 1,
    # J_1 = sin theta + (pi - theta) cos theta, and pi - theta = pi/2 + atan(cot theta).
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((40, 5)), rng.standard_normal((30, 5))
    norms = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    cosine = (a @ b.T) / norms
    sine = np.sqrt(1 - cosine**2)
    j1 = sine + (np.pi / 2 + np.arctan2(cosine, sine)) * cosine
    np.testing.assert_allclose(
        relu_ntk(a, b), norms * (j1 - sine) / (2 * np.pi), rtol=1e-11, atol=1e-13
    )


def test_exact_values_at_the_ends() -> None:
    z = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [-6.0, -8.0, 0.0], [0.0, 0.0, 2.0]])
    K = relu_ntk(z, z)
    np.testing.assert_array_equal(np.diag(K), [12.5, 0.0, 50.0, 2.0])
    assert K[0, 2] == 0.0  # theta = pi
    assert K[0, 3] == 0.0  # theta = pi/2
    np.testing.assert_array_equal(K[1], 0.0)
    np.testing.assert_array_equal(relu_ntk_diagonal(z), np.diag(K))


def test_symmetric_and_positive_semidefinite_with_near_duplicates() -> None:
    rng = np.random.default_rng(5)
    z = rng.standard_normal((200, 4))
    near = z[:40] + 1e-10 * rng.standard_normal((40, 4))
    z = np.concatenate([z, z[:40], z[:40] * (1 + 1e-9), near, -z[:20], np.zeros((2, 4))])
    K = relu_ntk(z, z)
    assert np.array_equal(K, K.T)
    values = np.linalg.eigvalsh(K)
    assert values[0] >= -1e-14 * values[-1]  # acos of a cosine gives -1e-10 here


def test_extreme_lengths_give_numbers() -> None:
    z = np.array([[1e200, 0.0], [1e-200, 1e-200], [1e-320, 0.0], [0.0, 0.0]])
    K = relu_ntk(z[[0]], z[1:])
    assert K[0, 0] == pytest.approx(0.375)
    assert np.isfinite(K).all()
    np.testing.assert_allclose(np.linalg.norm(unit_rows(z), axis=1), [1, 1, 1, 0])


def test_empty_and_blocked_evaluations() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((300, 3)), rng.standard_normal((700, 3))
    whole = relu_ntk(a, b)
    np.testing.assert_array_equal(whole[123:125], relu_ntk(a[123:125], b))
    np.testing.assert_array_equal(whole, relu_ntk(b, a).T)
    assert relu_ntk(a[:0], b).shape == (0, 700)
    assert relu_ntk(a, b[:0]).shape == (300, 0)


@pytest.mark.parametrize("shapes", [((3, 2), (3, 4)), ((3,), (3, 2))])
def test_wrong_shapes_are_named(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="same k"):
        relu_ntk(np.ones(shapes[0]), np.ones(shapes[1]))
