"""Distances between sets of points, each against a closed form or another way to compute it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import wasserstein_distance_nd

from trainers.sampling.distances import (
    directions,
    energy_distance,
    neighbour_divergence,
    share_memorized,
    sliced_wasserstein,
)


def test_energy_distance_of_normals_in_one_dimension() -> None:
    """E|N(m, 2)| in closed form, at a difference of means m; unbiased where laws are equal."""
    rng, m = np.random.default_rng(0), 0.8
    x, y = rng.standard_normal((4000, 1)), m + rng.standard_normal((4000, 1))
    phi = 0.5 * (1 + math.erf(m / 2))
    apart = 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * (2 * phi - 1)
    assert energy_distance(x, y) == pytest.approx(2 * apart - 4 / math.sqrt(math.pi), rel=0.1)
    null = [energy_distance(*rng.standard_normal((2, 50, 2))) for _ in range(400)]
    assert abs(np.mean(null)) < 4 * np.std(null) / 20


def test_energy_distance_leaves_out_a_points_distance_to_itself() -> None:
    x, y = np.array([[0.0], [1.0]]), np.array([[0.0], [3.0]])
    assert energy_distance(x, y) == pytest.approx(2 * (0 + 3 + 1 + 2) / 4 - 1 - 3)


def test_too_few_points_have_no_distance() -> None:
    one = np.zeros((1, 2))
    assert math.isnan(energy_distance(one, np.zeros((3, 2))))
    assert math.isnan(sliced_wasserstein(one[:0], one[:0], np.ones((1, 2))))


def test_sliced_wasserstein_of_a_shift() -> None:
    """W^2 is E (theta . m)^2 = ||m||^2 / d; in one dimension the distance itself."""
    rng = np.random.default_rng(1)
    x, m = rng.standard_normal((300, 3)), np.array([1.0, -2.0, 0.5])
    theta = directions(3, rng, 20_000)
    np.testing.assert_allclose(np.linalg.norm(theta, axis=1), 1)
    expected = math.sqrt((m @ m) / 3)
    assert sliced_wasserstein(x, x + m, theta) == pytest.approx(expected, rel=0.02)
    a, b = rng.standard_normal((2, 12, 1))
    one = directions(1, rng)
    order = np.sort(a[:, 0]), np.sort(b[:, 0])
    assert sliced_wasserstein(a, b, one) == pytest.approx(
        math.sqrt(np.mean((order[0] - order[1]) ** 2))
    )
    assert sliced_wasserstein(a, b, one) >= wasserstein_distance_nd(a, b) - 1e-12


@pytest.mark.parametrize("d", [1, 2, 5])
def test_neighbours_tell_the_divergence_of_normals(d: int) -> None:
    rng, m, s = np.random.default_rng(2), 0.5, 1.4
    x = rng.standard_normal((6000, d))
    y = m + s * rng.standard_normal((6000, d))
    kl = d * (math.log(s) + (1 + m**2) / (2 * s**2) - 0.5)
    assert neighbour_divergence(x, y) == pytest.approx(kl, abs=0.03 + 0.12 * kl)
    same = rng.standard_normal((6000, d))
    assert abs(neighbour_divergence(x, same)) < 0.05


def test_what_lies_on_a_training_point_is_memorized() -> None:
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    samples = np.array([[0.1, 0.0], [1.5, 0.0], [0.74, 0.0], [0.76, 0.0], [0.0, 3.5]])
    assert share_memorized(samples, points) == pytest.approx(3 / 5)
    assert math.isnan(share_memorized(samples, points[:1]))


def test_a_training_point_that_is_there_twice_counts_once() -> None:
    points = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    samples = np.array([[0.1, 0.0], [1.5, 0.0], [0.74, 0.0]])
    twice = np.concatenate([points, points[:2]])
    assert share_memorized(samples, twice) == share_memorized(samples, points) == 2 / 3
    assert math.isnan(share_memorized(samples, points[[1, 1]]))
