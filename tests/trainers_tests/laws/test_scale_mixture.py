"""The scale mixture: its place in the suite, and its tails."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import special

from trainers.laws import make_distribution
from trainers.laws.kinds.scale_mixture import ScaleMixture


def examples(dimension: int) -> list[ScaleMixture]:
    return [
        ScaleMixture(dimension=dimension, std_max=0.6),
        ScaleMixture(dimension=dimension, components=3, std_min=0.2, std_max=0.7),
    ]


def log_density(
    law: Any, distribution: Any, x: torch.Tensor, alpha: float, h: float
) -> torch.Tensor:
    widths = [
        law.std_min * (law.std_max / law.std_min) ** (c / (law.components - 1))
        for c in range(law.components)
    ]
    scales = torch.tensor([math.sqrt((alpha * s) ** 2 + h) for s in widths], dtype=torch.float64)
    scales = scales[:, None].expand(-1, law.dimension)
    normals = torch.distributions.Normal(torch.zeros_like(scales), scales)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones_like(scales[:, 0])),
        torch.distributions.Independent(normals, 1),
    )
    return mixture.log_prob(x)


def test_tails_are_those_of_the_widths() -> None:
    law = ScaleMixture(dimension=2)
    widths = 0.05 * 20 ** (np.arange(8) / 7)
    distribution = make_distribution(law)
    x0 = distribution.sample(200_000, np.random.default_rng(1))
    evenly = distribution.transform(np.random.default_rng(2).uniform(size=(200_000, 3)))
    for radius in (0.05, 0.2, 0.5, 1.0, 2.0, 3.0):
        # in the plane the length of a normal has P(> r) = exp(-r^2 / 2 s^2)
        truth = np.exp(-(radius**2) / (2 * widths**2)).mean()
        for drawn in (x0, evenly):
            share = (np.linalg.norm(drawn, axis=1) > radius).mean()
            assert abs(share - truth) < 5 * math.sqrt(truth * (1 - truth) / 200_000)
    kurtosis = float((x0[:, 0] ** 4).mean() / (x0[:, 0] ** 2).mean() ** 2)
    planted = 3 * (widths**4).mean() / (widths**2).mean() ** 2
    assert planted > 8  # of a Gaussian 3
    assert kurtosis == pytest.approx(planted, rel=0.1)


def test_equal_widths_are_one_gaussian() -> None:
    law = make_distribution(ScaleMixture(dimension=2, std_min=0.5, std_max=0.5))
    x = np.random.default_rng(3).normal(size=(6, 2))
    np.testing.assert_allclose(law.posterior_mean(x, 0.6, 0.64), 0.15 / 0.73 * x, rtol=1e-14)
    np.testing.assert_allclose(law.posterior_variance(x, 0.6, 0.64), 2 * 0.16 / 0.73, rtol=1e-14)


def test_far_away_the_widest_speaks_alone_and_near_the_centre_all_do() -> None:
    law = make_distribution(ScaleMixture(dimension=2))
    alpha, h = 0.8, 0.36
    far = law.posterior_mean(np.array([[1e30, 0.0]]), alpha, h)
    np.testing.assert_allclose(far, [[0.8 * 1e30, 0.0]], rtol=1e-12)  # alpha / (alpha^2 + h)
    squares = (0.05 * 20 ** (np.arange(8) / 7)) ** 2
    v = alpha**2 * squares + h
    gain = (alpha * squares / v) @ special.softmax(-np.log(v))
    near = law.posterior_mean(np.array([[1e-8, 0.0]]), alpha, h)
    np.testing.assert_allclose(near, [[gain * 1e-8, 0.0]], rtol=1e-12)


def test_many_rows_are_worked_on_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    law = make_distribution(ScaleMixture(dimension=3))
    x = np.random.default_rng(4).normal(size=(50, 3))
    alpha = np.linspace(0.1, 0.9, 50)
    calls = [law.posterior_mean, law.posterior_variance, law.log_marginal]
    whole = [call(x, alpha, 1 - alpha**2) for call in calls]
    monkeypatch.setattr("trainers.laws.mixture_noise._BLOCK_BYTES", 8 * 8 * 7)  # 7 rows
    for call, value in zip(calls, whole, strict=True):
        np.testing.assert_allclose(call(x, alpha, 1 - alpha**2), value, rtol=1e-14)


def test_widths_must_rise() -> None:
    with pytest.raises(ValidationError, match=r"law\.std_min = 2 must not be above"):
        ScaleMixture(dimension=2, std_min=2.0, std_max=1.0)
