"""The Gaussian mixture: its place in the suite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from trainers.laws.kinds.gaussian_mixture import GaussianMixture
from trainers.laws.law import FloatArray
from trainers.laws.mixture import MixtureOfNormals


def examples(dimension: int) -> list[GaussianMixture]:
    return [
        GaussianMixture(dimension=dimension, seed=1),
        GaussianMixture(dimension=dimension, components=1, std=0.7, seed=2),
    ]


def log_density(
    law: Any, distribution: Any, x: torch.Tensor, alpha: float, h: float
) -> torch.Tensor:
    means = torch.from_numpy(np.ascontiguousarray(distribution._means))
    v = alpha**2 * law.std**2 + h
    squared = ((x[:, None] - alpha * means) ** 2).sum(2)
    normals = -squared / (2 * v) - law.dimension / 2 * math.log(2 * math.pi * v)
    return torch.logsumexp(normals, 1) - math.log(len(means))


@pytest.mark.parametrize("std", [0.0, 2.0**-12])
def test_a_law_far_from_0_is_the_same_law_there(std: float) -> None:
    # Steps of 2^-10 at 10^5: squares of the centres have no digits left for what tells them apart.
    rng = np.random.default_rng(0)
    means = rng.integers(-8, 8, (12, 2)) * 2.0**-10
    shift = np.array([2.0**17, -(2.0**16)])
    near, far = MixtureOfNormals(means, std), MixtureOfNormals(means + shift, std)
    a, h = np.full(200, 1.0), np.full(200, 1e-6)
    x = near.sample(200, rng) + 1e-3 * rng.standard_normal((200, 2))
    x = np.round(x * 2**30) / 2**30  # the sums below are exact: both are asked at the same points
    found = far.posterior_mean(x + shift, a, h) - shift
    assert found == pytest.approx(near.posterior_mean(x, a, h), abs=1e-9)
    for name in ("posterior_variance", "log_marginal"):
        values = (getattr(law, name)(at, a, h) for law, at in ((far, x + shift), (near, x)))
        assert next(values) == pytest.approx(next(values), rel=1e-9, abs=1e-15)

    def signal(u: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full(len(u), 1.0), np.full(len(u), 1e-7)

    one, other = (
        law.mean_posterior_variance(signal, 4096, np.random.default_rng(1)) for law in (far, near)
    )
    assert one == pytest.approx(other, rel=1e-9)
    assert far.sample(50, np.random.default_rng(2)) == pytest.approx(
        near.sample(50, np.random.default_rng(2)) + shift, abs=1e-10
    )


def test_a_law_about_0_is_computed_as_it_stands() -> None:
    means = np.random.default_rng(0).uniform(-1, 1, (12, 2)) + 100.0
    assert MixtureOfNormals(means, 0.1)._centre is None
    assert np.array_equal(MixtureOfNormals(means, 0.1)._about, means)
