"""Times and weights of the training loss, against quadrature and against what they stand for."""

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from scipy import integrate

from trainers.laws import make_distribution
from trainers.problem import diffusion as forward
from trainers.problem.evaluation import EvaluationSet, posterior_variance
from trainers.problem.time_law import (
    GAMMA,
    density,
    quantile,
    sample_times,
    weight,
    weighted_times,
)
from trainers.ranges import TimeLaw, Weight
from trainers.trial import Diffusion, TrialConfig

PROCESSES = [
    Diffusion(),
    Diffusion(t_min=1e-4, t_max=3.0),
    Diffusion(t_min=0.01, t_max=2.0, schedule="linear", g_min=0.2, g_max=7.0),
    Diffusion(t_min=2.0, t_max=9.0),
]
LAWS, WEIGHTS = get_args(TimeLaw), get_args(Weight)
U = np.linspace(0.0, 1.0, 41)


def config(**changes: object) -> TrialConfig:
    law = {"kind": "gaussian_mixture", "dimension": 2, "seed": 5}
    values = {"law": law, "samples": 32, "width": 8, "step_size": 0.1, **changes}
    return TrialConfig.model_validate(values)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("law", LAWS)
def test_quantiles_hold_the_mass_of_the_density(law: TimeLaw, process: Diffusion) -> None:
    t = quantile(law, process, U)
    assert t[0] == pytest.approx(process.t_min)
    assert t[-1] == pytest.approx(process.t_max)
    assert (np.diff(t) > 0).all()

    def mass(low: float, high: float) -> float:
        """In log t, where no density is steep."""
        value, _ = integrate.quad(
            lambda s: float(density(law, process, np.exp([s]))[0] * np.exp(s)),
            np.log(low), np.log(high), epsabs=1e-12,
        )  # fmt: skip
        return float(value)

    for i in range(len(U) - 1):
        assert mass(t[i], t[i + 1]) == pytest.approx(U[i + 1] - U[i], rel=1e-6)


def test_uniform_times_are_those_that_there_always_were() -> None:
    given = sample_times(config(), 100, np.random.default_rng(3))
    process = config().diffusion
    expected = np.random.default_rng(3).uniform(process.t_min, process.t_max, 100)
    np.testing.assert_array_equal(given, expected)


def test_laws_differ_in_the_times_alone_and_not_in_what_is_drawn_later() -> None:
    after = set()
    for law in LAWS:
        rng = np.random.default_rng(3)
        sample_times(config(time_law=law), 100, rng)
        after.add(rng.random())
    assert len(after) == 1


def test_weights_are_those_of_networks_that_predict_something_else() -> None:
    """The squared error of the score, of the noise and of v, made from an estimate of X_0."""
    rng = np.random.default_rng(0)
    t = rng.uniform(0.01, 2.0, 50)
    process = Diffusion(t_min=0.01, t_max=2.0)
    alpha, h = forward.alpha(process, t), forward.h(process, t)
    x0, estimate, noise = rng.normal(size=(3, 50))
    x = alpha * x0 + np.sqrt(h) * noise
    squared = (estimate - x0) ** 2

    def noise_of(first: np.ndarray) -> np.ndarray:
        return np.asarray((x - alpha * first) / np.sqrt(h))

    def v_of(first: np.ndarray) -> np.ndarray:
        return alpha * noise_of(first) - np.sqrt(h) * first

    np.testing.assert_allclose(noise_of(x0), noise, rtol=1e-9)
    for kind, error in (
        ("x0", estimate - x0),
        ("eps", noise_of(estimate) - noise),
        ("score", (noise_of(estimate) - noise) / np.sqrt(h)),
        ("v", v_of(estimate) - v_of(x0)),
    ):
        np.testing.assert_allclose(weight(kind, alpha, h) * squared, error**2, rtol=1e-8)  # type: ignore[arg-type]
    least = np.minimum(weight("eps", alpha, h), GAMMA)
    np.testing.assert_array_equal(weight("min_snr", alpha, h), least)
    assert 0 < (least == GAMMA).sum() < 50


@pytest.mark.parametrize("process", PROCESSES[:3])
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_weighted_times_follow_the_product(law: TimeLaw, kind: Weight, process: Diffusion) -> None:
    c = config(time_law=law, weight=kind, diffusion=process.model_dump())
    t, mean = weighted_times(c, U)

    def inside(s: float) -> float:
        t = np.exp([s])
        w = weight(kind, forward.alpha(process, t), forward.h(process, t))
        return float((density(law, process, t) * w * t)[0])

    masses = [
        integrate.quad(inside, np.log(low), np.log(high), epsrel=1e-10)[0]
        for low, high in pairwise(t)
    ]
    assert mean == pytest.approx(sum(masses), rel=1e-6)
    np.testing.assert_allclose(masses, mean * np.diff(U), rtol=1e-4)


def test_the_noise_of_a_weighted_loss() -> None:
    """Against draws of its rows: E_pi[w ||X_0 - f*||^2]."""
    c = config(time_law="log_snr", weight="eps", samples=2**17)
    law = make_distribution(c.law)
    rng = np.random.default_rng(1)
    t = sample_times(c, c.samples, rng)
    alpha, h = forward.alpha(c.diffusion, t), forward.h(c.diffusion, t)
    x = forward.forward_sample(c.diffusion, law.sample(c.samples, rng), t, rng)
    drawn = weight("eps", alpha, h) * law.posterior_variance(x, alpha, h)
    error = float(drawn.std() / np.sqrt(len(drawn)))
    exact = posterior_variance(c, law, weighted=True)
    assert abs(float(drawn.mean()) - exact) < 4 * error
    values = EvaluationSet.draw(c, law).values()
    assert values["noise_variance"] == pytest.approx(exact / 2)
    plain = EvaluationSet.draw(config(), law).values()
    assert values["posterior_variance"] == plain["posterior_variance"]
    assert plain["noise_variance"] == pytest.approx(float(plain["posterior_variance"]) / 2)
