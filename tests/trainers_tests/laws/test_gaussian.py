"""The Gaussian of power-law variances: its place in the suite, and what is its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from trainers.laws import make_distribution
from trainers.laws.kinds.gaussian import Gaussian


def examples(dimension: int) -> list[Gaussian]:
    return [
        Gaussian(dimension=dimension),
        Gaussian(dimension=dimension, power=2.5, std=0.6),
    ]


def log_density(
    law: Any, distribution: Any, x: torch.Tensor, alpha: float, h: float
) -> torch.Tensor:
    # by its covariance matrix, as torch has it
    v = torch.tensor(
        [law.std**2 / i**law.power for i in range(1, law.dimension + 1)], dtype=torch.float64
    )
    covariance = torch.diag(alpha**2 * v + h)
    normal = torch.distributions.MultivariateNormal(torch.zeros(len(v)).double(), covariance)
    return normal.log_prob(x)


def test_modes_have_the_variances() -> None:
    law = Gaussian(dimension=4, power=1.5, std=2.0)
    np.testing.assert_allclose(law.variances, [4 / i**1.5 for i in (1, 2, 3, 4)], rtol=1e-14)
    distribution = make_distribution(law)
    assert distribution.second_moment == pytest.approx(law.variances.sum())
    x0 = distribution.sample(200_000, np.random.default_rng(1))
    covariance = x0.T @ x0 / len(x0)
    error = np.sqrt(np.outer(law.variances, law.variances) * (1 + np.eye(4)) / len(x0))
    assert (np.abs(covariance - np.diag(law.variances)) < 5 * error).all()


def test_the_posterior_mean_is_the_best_linear_map() -> None:
    """Least squares of X_0 on X_t, which knows no formula."""
    law = Gaussian(dimension=3, power=2.0)
    rng, alpha, h = np.random.default_rng(2), 0.8, 0.36
    distribution = make_distribution(law)
    x0 = distribution.sample(400_000, rng)
    x = alpha * x0 + math.sqrt(h) * rng.standard_normal(x0.shape)
    fitted = np.linalg.lstsq(x, x0, rcond=None)[0]
    np.testing.assert_allclose(distribution.posterior_mean(np.eye(3), alpha, h), fitted, atol=5e-3)
    residual = ((x0 - x @ fitted) ** 2).sum(axis=1).mean()
    variance = distribution.posterior_variance(x[:2], alpha, h)
    np.testing.assert_allclose(variance, residual, rtol=1e-2)


def test_no_power_is_the_same_in_every_direction() -> None:
    law = make_distribution(Gaussian(dimension=3, power=0.0, std=0.5))
    x = np.random.default_rng(3).normal(size=(5, 3))
    np.testing.assert_allclose(law.posterior_mean(x, 0.6, 0.64), 0.15 / 0.73 * x, rtol=1e-14)
