"""The forward process against quadrature, simulation and its own inverses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from trainers.columns import TIME_BINS
from trainers.problem.diffusion import (
    alpha,
    forward_sample,
    h,
    sample_times,
    time_bin,
    unweighted_factor,
)
from trainers.trial import Diffusion, time_bin_edges

CONSTANT = Diffusion(t_min=0.05, t_max=2.0, g_min=0.7)
LINEAR = Diffusion(t_min=0.01, t_max=1.5, schedule="linear", g_min=0.1, g_max=20.0)
FALLING = Diffusion(t_min=0.01, t_max=1.5, schedule="linear", g_min=3.0, g_max=0.5)
ALL = pytest.mark.parametrize("diffusion", [CONSTANT, LINEAR, FALLING])


def rate(diffusion: Diffusion, t: float) -> float:
    """g(t), written from the definition in Diffusion's docstring."""
    if diffusion.g_max is None:
        return diffusion.g_min
    share = t / diffusion.t_max
    return (1 - share) * diffusion.g_min + share * diffusion.g_max


@ALL
def test_alpha_and_h_against_quadrature(diffusion: Diffusion) -> None:
    for t in np.linspace(0, diffusion.t_max, 7):
        integral = quad(lambda s: rate(diffusion, s), 0, t, epsabs=1e-13)[0]
        assert alpha(diffusion, t) == pytest.approx(math.exp(-integral / 2), rel=1e-12)
        assert h(diffusion, t) == pytest.approx(1 - math.exp(-integral), abs=1e-12)


def test_default_is_the_standard_process() -> None:
    t = np.array([0.05, 0.5, 1.0])
    np.testing.assert_allclose(alpha(Diffusion(), t), np.exp(-t / 2), rtol=1e-15)


@ALL
def test_h_is_accurate_at_tiny_times(diffusion: Diffusion) -> None:
    # h = g(0) t + O(t^2); 1 - alpha**2 would be off by 1e-16 / 1e-14 = 1 %
    t = 1e-14
    assert h(diffusion, t) == pytest.approx(diffusion.g_min * t, rel=1e-11)


@ALL
def test_sampled_times_are_uniform_and_seeded(diffusion: Diffusion) -> None:
    n = 20_000
    t = sample_times(diffusion, n, np.random.default_rng(1))
    width = diffusion.t_max - diffusion.t_min
    assert t.shape == (n,)
    assert diffusion.t_min <= t.min()
    assert t.max() <= diffusion.t_max
    share = (t - diffusion.t_min) / width
    assert abs(share.mean() - 0.5) < 5 * math.sqrt(1 / 12 / n)
    assert abs((share**2).mean() - 1 / 3) < 5 * math.sqrt((1 / 5 - 1 / 9) / n)
    np.testing.assert_array_equal(t, sample_times(diffusion, n, np.random.default_rng(1)))
    assert not np.array_equal(t, sample_times(diffusion, n, np.random.default_rng(2)))


@ALL
def test_forward_samples_have_the_right_moments(diffusion: Diffusion) -> None:
    n = 200_000
    rng = np.random.default_rng(3)
    x0 = np.tile([2.0, -1.0], (n, 1))
    t = np.where(np.arange(n) % 2 == 0, 0.02, 1.0)
    x = forward_sample(diffusion, x0, t, rng)
    for time in (0.02, 1.0):
        a, v = float(alpha(diffusion, time)), float(h(diffusion, time))
        z = (x[t == time] - a * x0[t == time]) / math.sqrt(v)
        k = len(z)
        assert np.all(np.abs(z.mean(axis=0)) < 5 / math.sqrt(k))
        assert np.all(np.abs((z**2).mean(axis=0) - 1) < 5 * math.sqrt(2 / k))
        assert abs((z[:, 0] * z[:, 1]).mean()) < 5 / math.sqrt(k)


def test_the_process_simulated_step_by_step_agrees() -> None:
    """Euler-Maruyama on dX = -1/2 g X dt + sqrt(g) dB, which knows neither alpha nor h."""
    n, steps, t = 40_000, 400, 1.0
    rng = np.random.default_rng(4)
    x = np.full(n, 2.0)
    for i in range(steps):
        g = rate(FALLING, (i + 0.5) * t / steps)
        x += -0.5 * g * x * t / steps + math.sqrt(g * t / steps) * rng.standard_normal(n)
    a, v = float(alpha(FALLING, t)), float(h(FALLING, t))
    # 5 standard errors, plus the scheme's bias of order g dt
    assert abs(x.mean() - 2 * a) < 5 * math.sqrt(v / n) + 0.005
    assert abs(x.var() - v) < 5 * v * math.sqrt(2 / n) + 0.01


@given(st.floats(1e-3, 1.0), st.integers(0, 1000))
def test_unweighted_factor_turns_errors_of_f_into_errors_of_the_score(t: float, seed: int) -> None:
    # Tweedie's formula: the score that goes with f is (alpha f - x) / h.
    rng = np.random.default_rng(seed)
    x, f, other = rng.standard_normal((3, 5, 3))
    a, v = alpha(CONSTANT, np.full(5, t)), h(CONSTANT, np.full(5, t))
    score, another = ((a[:, None] * mean - x) / v[:, None] for mean in (f, other))
    np.testing.assert_allclose(
        ((score - another) ** 2).sum(axis=1),
        unweighted_factor(a, v) * ((f - other) ** 2).sum(axis=1),
        rtol=1e-9,
    )


def test_score_of_a_standard_normal() -> None:
    # X_0 ~ N(0, I) stays N(0, I): f* = alpha x and the score is -x at every t
    x = np.random.default_rng(5).standard_normal((4, 2))
    t = np.array([1e-4, 0.1, 0.5, 2.0])
    a, v = alpha(CONSTANT, t)[:, None], h(CONSTANT, t)[:, None]
    np.testing.assert_allclose((a * (a * x) - x) / v, -x, rtol=1e-9)


@ALL
def test_time_bins(diffusion: Diffusion) -> None:
    edges = np.array(time_bin_edges(diffusion))
    np.testing.assert_array_equal(time_bin(diffusion, edges[:-1]), np.arange(TIME_BINS))
    below = np.nextafter(edges[1:], 0)
    np.testing.assert_array_equal(time_bin(diffusion, below), np.arange(TIME_BINS))
    assert time_bin(diffusion, diffusion.t_max) == TIME_BINS - 1
    t = sample_times(diffusion, 1000, np.random.default_rng(0))
    i = time_bin(diffusion, t)
    assert np.all((edges[i] <= t) & (t < edges[i + 1]))


@pytest.mark.parametrize("t", [0.0, 0.049, 2.001, math.nan])
def test_a_time_outside_the_range_has_no_bin(t: float) -> None:
    with pytest.raises(ValueError, match=r"no time bin.*\[0.05, 2\]"):
        time_bin(CONSTANT, np.array([0.5, t]))
