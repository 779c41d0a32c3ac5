"""Test points: means over them are means over U[T_0, T]; bounded weights; groups alike."""

import numpy as np
import pytest
from scipy import integrate, stats

from trainers.columns import ERROR_COLUMNS, TEST_GROUPS
from trainers.laws import make_distribution
from trainers.laws.even_points import uniforms
from trainers.problem import diffusion as forward
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.test_points import (
    proposal_density,
    proposal_times,
    time_weights,
)
from trainers.trial import Diffusion, TrialConfig

DIFFUSIONS = [
    Diffusion(t_min=t_min, t_max=t_max, **rest)
    for t_min, t_max in ((0.05, 1.0), (1e-3, 1.0), (1e-5, 1.0), (1e-5, 0.01))
    for rest in ({}, {"schedule": "linear", "g_min": 0.1, "g_max": 20.0})
]


def evaluation(diffusion: Diffusion, study_seed: int = 0, test_points: int = 2048) -> EvaluationSet:
    law = {"kind": "gaussian_mixture", "dimension": 2}
    values = {"law": law, "samples": 8, "width": 8, "step_size": 1.0, "study_seed": study_seed}
    values |= {"diffusion": diffusion, "test_points": test_points}
    c = TrialConfig.model_validate(values)
    return EvaluationSet.draw(c, make_distribution(c.law))


@pytest.mark.parametrize("diffusion", DIFFUSIONS)
def test_times_follow_their_density(diffusion: Diffusion) -> None:
    u = (np.arange(20_000) + 0.5) / 20_000
    t = proposal_times(diffusion, u)
    assert (np.diff(t) > 0).all()
    # du/dt is the density
    middle = np.sqrt(t[1:] * t[:-1])
    np.testing.assert_allclose(np.diff(u) / np.diff(t), proposal_density(diffusion, middle), 2e-3)
    assert time_weights(diffusion, t).max() <= 2 * (1 + 1e-9)


@pytest.mark.parametrize("diffusion", DIFFUSIONS)
def test_every_mean_has_more_than_a_hundred_effective_points(diffusion: Diffusion) -> None:
    size = evaluation(diffusion).effective_points
    assert min(size["effective_points"], size["effective_points_unweighted"]) > 400
    # the last bin of a steep schedule holds most of its unweighted error in a corner
    assert size["effective_points_bins"] > (100 if diffusion.schedule == "constant" else 70)


@pytest.mark.parametrize("diffusion", DIFFUSIONS)
def test_means_are_those_over_uniform_times(diffusion: Diffusion) -> None:
    """Of squared errors that depend on t alone, h(t) and h(t)^2: each column against quadrature."""
    s = evaluation(diffusion)
    columns = dict(zip(ERROR_COLUMNS, (s.test.h**2) @ s.weights, strict=True))
    low, high = np.log(diffusion.t_min), np.log(diffusion.t_max)

    def mean(power: int, weighted: bool) -> float:
        def value(u: float) -> float:
            t = np.exp(u)
            a, h = forward.alpha(diffusion, t), forward.h(diffusion, t)
            return float(t * h**power * (a**2 / h**2 if weighted else 1.0))

        total = integrate.quad(value, low, high, limit=200)[0]
        return float(total / (diffusion.t_max - diffusion.t_min))

    assert columns["score_error"] == pytest.approx(mean(2, False), rel=0.005)
    assert columns["score_error_unweighted"] == pytest.approx(mean(2, True), rel=0.005)
    constant = np.ones(len(s.test)) @ s.weights
    unweighted = constant[ERROR_COLUMNS.index("score_error_unweighted")]
    assert unweighted == pytest.approx(mean(0, True), rel=0.01)
    for i, name in enumerate(ERROR_COLUMNS):
        if "unweighted" not in name:
            assert constant[i] == pytest.approx(1.0)


def test_groups_make_up_the_whole_and_its_halves() -> None:
    s = evaluation(DIFFUSIONS[0], test_points=50)  # not a multiple of the number of groups
    value = dict(zip(ERROR_COLUMNS, np.sum(s.test.xt**2, axis=1) @ s.weights, strict=True))
    for name in ("score_error", "score_error_unweighted"):
        parts = [value[f"{name}_group{i}"] for i in range(1, TEST_GROUPS + 1)]
        assert value[name] == pytest.approx(np.mean(parts))
    half = TEST_GROUPS // 2
    parts = [value[f"score_error_group{i}"] for i in range(1, TEST_GROUPS + 1)]
    assert value["score_error_select"] == pytest.approx(np.mean(parts[:half]))
    assert value["score_error_assess"] == pytest.approx(np.mean(parts[half:]))


def test_groups_tell_the_error_of_the_whole_and_are_better_than_plain_draws() -> None:
    wholes, guesses = [], []
    for seed in range(60):
        s = evaluation(DIFFUSIONS[0], seed, 128)
        error = np.sum((s.test.fstar - 0.5 * s.test.xt) ** 2, axis=1) @ s.weights
        value = dict(zip(ERROR_COLUMNS, error, strict=True))
        parts = [value[f"score_error_group{i}"] for i in range(1, TEST_GROUPS + 1)]
        wholes.append(value["score_error"])
        guesses.append(np.var(parts, ddof=1) / TEST_GROUPS)
    ratio = np.var(wholes, ddof=1) / np.mean(guesses)
    low, high = stats.chi2.ppf([0.0005, 0.9995], 59) / 59
    assert low * 0.8 < ratio < high * 1.25


def test_even_points_are_uniform_and_even() -> None:
    u = uniforms(256, 6, np.random.default_rng(0))
    assert ((u > 0) & (u < 1)).all()
    for column in u.T:
        np.testing.assert_array_equal(np.sort((column * 256).astype(int)), np.arange(256))
    one = np.concatenate([uniforms(3, 2, np.random.default_rng(i))[2] for i in range(2000)])
    assert stats.kstest(one, "uniform").pvalue > 1e-4
    pinned = uniforms(2, 2, np.random.default_rng(7))
    np.testing.assert_array_equal(pinned, uniforms(2, 2, np.random.default_rng(7)))
