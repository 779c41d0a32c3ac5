"""The offset form: its search against a grid, its Jacobian, and what it cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.fits import offset as offset_fit
from analysis.fits.power_law import FitStatus, fit_power_law
from analysis.levels.intervals import summarise

X = np.geomspace(64, 4096, 7)


def sample(seeds: int, sigma: float, floor: float, random_seed: int = 0):
    rng = np.random.default_rng(random_seed)
    y = (X**-0.5 + floor * X[-1] ** -0.5) * np.exp(sigma * rng.standard_normal((seeds, len(X))))
    return np.tile(X, seeds), y.ravel()


def test_offset_interval_is_open_where_data_do_not_bound_it() -> None:
    x = np.repeat([1.0, 2, 4, 8], 3)
    # one level above a flat rest: every steep exponent fits
    y = np.where(x == 1, 1.35, 1.0) * np.exp(0.05 * np.random.default_rng(0).standard_normal(12))
    fit = fit_power_law(x, y, offset=True)
    assert math.isinf(fit.ci[1])
    assert "extend the range" in fit.message


def test_offset_fit_is_a_minimum() -> None:
    """Against a search of another kind: no point of a fine grid has a smaller sum of squares."""
    x, y = sample(5, 0.2, 0.5, random_seed=3)
    means = summarise(x, y)
    found = offset_fit.fit(means)
    u, ell = means.u - means.u.mean(), means.log_mean
    b, r = np.meshgrid(np.linspace(0.01, 3, 300), np.logspace(-6, 3, 300))
    shape = np.log(np.exp(-b[..., None] * u) + r[..., None])
    left = ell - shape
    rss = np.sum((left - left.mean(axis=-1, keepdims=True)) ** 2, axis=-1)
    assert found.rss <= rss.min() * (1 + 1e-12)
    assert found.rss == pytest.approx(rss.min(), rel=0.02)


def test_offset_jacobian_is_the_derivative() -> None:
    u = np.linspace(-2, 2, 7)
    for b, r in ((0.5, 0.3), (-1.0, 0.0), (2.0, 5.0)):
        jacobian = offset_fit._jacobian(b, r, u)

        def model(b: float, r: float) -> np.ndarray:
            return np.log(np.exp(-b * u) + r)

        h = 1e-6
        numeric = (model(b + h, r) - model(b - h, r)) / (2 * h)
        assert jacobian[:, 1] == pytest.approx(numeric, abs=1e-8)
        assert jacobian[:, 2] == pytest.approx((model(b, r + h) - model(b, r)) / h, rel=1e-3)


def test_a_search_that_fails_is_said_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_fit, "_polish", lambda b, r, *_: (b, r, 1.0, False))
    fit = fit_power_law(*sample(3, 0.1, 0.0), offset=True)
    assert fit.status is FitStatus.FAILED
    assert "did not converge" in fit.message
    assert math.isnan(fit.exponent)


def test_a_step_down_to_a_floor_has_no_exponent() -> None:
    """At the floor from the second level on: the steepest exponent allowed always fits best."""
    x = np.repeat([1.0, 2, 4, 8], 3)
    fit = fit_power_law(x, np.where(x == 1, 1.2, 1.0), offset=True)
    assert fit.status is FitStatus.REFUSED
    assert "add levels where it still falls" in fit.message


@pytest.mark.parametrize("b", [0.0, 0.5, -0.8])
def test_every_fit_is_stationary_or_says_why_not(b: float) -> None:
    for i in range(20):
        rng = np.random.default_rng(i)
        y = X**-b * np.exp(0.1 * rng.standard_normal((3, len(X))))
        fit = fit_power_law(np.tile(X, 3), y.ravel(), offset=True)
        if not fit.ok:
            assert math.isnan(fit.exponent)
            assert fit.message
            continue
        found, means = fit.offset_fit, fit.means
        assert found is not None
        assert means is not None
        u = means.u - means.u.mean()
        left = means.log_mean - offset_fit.predict(found, u)[0]
        slope = left @ offset_fit._jacobian(found.b, found.r, u)
        assert slope[:2] == pytest.approx(0, abs=1e-5)
        assert slope[2] <= 1e-5 if found.r == 0 else abs(slope[2] * found.r) < 1e-5
