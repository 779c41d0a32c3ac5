"""What a power law is not fitted to, and by what words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from power_laws import X, sample
from scipy import stats

from analysis.fits.diagnostics import holdout, refusal
from analysis.fits.power_law import FitStatus, fit_power_law
from analysis.levels.intervals import summarise


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        ([1, 2, 4], [1, math.nan, 3], "NaN"),
        ([1, 2, 4], [1, math.inf, 3], "NaN or infinite"),
        ([1, 2, 4], [1, 0, 3], "zero or negative"),
        ([0, 2, 4], [1, 2, 3], "of x is zero"),
        ([-1, 2, 4], [1, 2, 3], "of x is zero or negative"),
        ([1, 1, 4], [1, 2, 3], "2 distinct x"),
        ([], [], "0 distinct x"),
    ],
)
def test_unfit_data_are_refused_by_name(x: list[float], y: list[float], word: str) -> None:
    fit = fit_power_law(x, y)
    assert fit.status is FitStatus.REFUSED
    assert word in fit.message
    assert math.isnan(fit.exponent)
    assert all(math.isnan(v) for v in (*fit.ci, *fit.interval(0.9), *fit.predict(1.0)[0]))


def test_offset_needs_four_levels() -> None:
    assert "needs at least 4" in fit_power_law([1, 2, 4], [4, 2, 1], offset=True).message
    assert fit_power_law([1, 2, 4, 8], [9, 5, 3, 2], offset=True).ok


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        (np.array([1.0, 2, 4, 8, 4, 2, 1]), "turns"),
        (np.array([8.0, 4, 2, 1, 2, 4, 8]), "turns"),
        (np.array([1.0, 1, 1, 1, 0.01, 0.01, 0.01]), "broken"),
    ],
)
@pytest.mark.parametrize("seeds", [1, 5])
def test_turning_and_broken_curves_are_refused(shape: np.ndarray, word: str, seeds: int) -> None:
    rng = np.random.default_rng(0)
    y = shape * np.exp(0.05 * rng.standard_normal((seeds, len(X))))
    for offset in (False, True):
        fit = fit_power_law(np.tile(X, seeds), y.ravel(), offset=offset)
        assert fit.status is FitStatus.REFUSED
        assert word in fit.message
        assert math.isnan(fit.exponent)


@pytest.mark.parametrize(
    ("shape", "turn"),
    [
        ([1, 0.5, 0.25, 0.5, 1, 2], 256),
        ([2, 1, 0.5, 0.25, 0.5, 1], 512),
        ([8, 8, 1, 1, 3, 9], 256),  # the first of two that are equal
        ([9, 8, 0.2, 0.21, 0.3, 7], 256),
        ([1, 2, 4, 8, 4, 2], 512),
        ([20, 9, 1, 12, 5, 0.5], 256),  # a second descent, from its trough
    ],
)
def test_a_curve_turns_where_it_is_said_to(shape: list[float], turn: int) -> None:
    for y in (np.array(shape), 1 / np.array(shape)):
        means = summarise(np.tile(X[:6], 2), np.tile(y, (2, 1)).ravel() * np.repeat([1, 1.001], 6))
        assert f"not monotone near x = {turn};" in refusal(means)


def test_noise_alone_is_not_refused() -> None:
    refused = sum(
        not fit_power_law(*sample(3, 0.5, b, i)[:2]).ok for b in (0.0, 0.5) for i in range(150)
    )
    assert refused <= 3  # 0.1 % a level and a rule, at most


@pytest.mark.slow
def test_single_values_are_judged_against_their_scatter() -> None:
    """At most 1 % of power laws are refused, at any noise; benchmarks/coverage.py has more."""
    for points in (4, 6, 20, 100):
        x = np.geomspace(100, 3000, points)
        refused = 0
        for i in range(100):
            rng = np.random.default_rng([points, i])
            noise = np.exp(0.15 * rng.standard_normal(points))
            refused += not fit_power_law(x, x ** -(0.3 * (i % 2)) * noise).ok
        assert refused <= 4  # 1 of 100 expected at most; more than four in one of 200


@pytest.mark.slow
@pytest.mark.parametrize(("points", "sigma"), [(12, 0.02), (40, 0.05), (150, 0.1)])
def test_a_second_descent_is_refused_at_single_values(points: int, sigma: float) -> None:
    u = np.linspace(0, 1, points)
    for i in range(10):
        noise = sigma * np.random.default_rng(i).standard_normal(points)
        y = np.exp(-2 * u + 2.5 * np.exp(-(((u - 0.5) / 0.2) ** 2)) + noise)
        fit = fit_power_law(np.exp(4 + 4 * u), y)
        assert fit.status is FitStatus.REFUSED
        assert "turns" in fit.message or "broken" in fit.message


def test_the_refusal_does_not_depend_on_the_unit_of_x() -> None:
    rng = np.random.default_rng(0)
    u = np.sort(rng.uniform(0, 1, 30))
    y = np.exp(-2 * u + 2.5 * np.exp(-(((u - 0.5) / 0.2) ** 2)))
    told = [fit_power_law(scale * np.exp(3 * u), y) for scale in (1e-9, 1.0, 1e9)]
    assert [fit.status for fit in told] == [FitStatus.REFUSED] * 3


def test_a_floor_is_bent_but_not_broken() -> None:
    fit = fit_power_law(*sample(8, 0.03, floor=1.0)[:2])
    assert fit.ok
    assert fit.curvature is not None
    assert fit.curvature.p_value < 0.001
    assert fit.curvature.drift < 0
    assert fit.holdout is not None
    assert fit.holdout.z > 2


def test_a_last_level_that_is_off_is_seen_at_single_values() -> None:
    """The forecast's p is that of a new value beside a regression line (Student's, L - 3)."""
    noise = 0.001 * np.random.default_rng(0).standard_normal(6)
    x = X[:6]
    y = x**-0.5 * np.exp(noise) * np.array([1, 1, 1, 1, 1, 1.15])
    fit = fit_power_law(x, y)
    assert fit.holdout is not None
    u, v = np.log(x), np.log(y)
    line = stats.linregress(u[:-1], v[:-1])
    left = v - line.intercept - line.slope * u
    scatter = np.sqrt(np.sum(left[:-1] ** 2) / 3)
    far = (u[-1] - u[:-1].mean()) ** 2 / np.sum((u[:-1] - u[:-1].mean()) ** 2)
    z = left[-1] / (scatter * np.sqrt(1 + 1 / 5 + far))
    assert fit.holdout.z == pytest.approx(z)
    assert fit.holdout.p_value == pytest.approx(2 * stats.t.sf(abs(z), 3))
    assert fit.holdout.p_value < 1e-5


@pytest.mark.parametrize("levels", [4, 5, 6, 8, 12])
def test_the_forecast_of_a_power_law_is_off_as_often_as_it_says(levels: int) -> None:
    """With one value a level, and with more at the first."""
    x, curves = 64 * 2.0 ** np.arange(levels), 1200
    rng = np.random.default_rng(levels)
    p = []
    for i in range(curves):
        at = np.concatenate([x, x[:1].repeat(3 * (i % 2))])
        noise = np.exp(0.02 * rng.standard_normal(len(at)))
        forecast = holdout(summarise(at, at**-0.5 * noise))
        assert forecast is not None
        p.append(forecast.p_value)
    for level in (0.05, 0.5):
        seen = float(np.mean(np.array(p) < level))
        assert abs(seen - level) < 4 * math.sqrt(level * (1 - level) / curves)


def test_arguments_that_cannot_be_meant_raise() -> None:
    with pytest.raises(ValueError, match="same length"):
        fit_power_law([1, 2], [1])
    with pytest.raises(ValueError, match="same length"):
        fit_power_law([1, 2], [1, 2], seed=[1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_power_law(X, X, level=95)
