"""Truncated normals and Bessel ratios against 30-digit arithmetic, scipy, and their limits."""

from __future__ import annotations

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gammaln, ive, log_ndtr

from trainers.laws.special_functions import bessel_ratio, truncated_normal


def evaluate(x: float, alpha: float, h: float) -> tuple[float, float]:
    mean, log_mass = truncated_normal(np.asarray(x), np.asarray(alpha), np.asarray(h))
    return float(mean), float(log_mass)


def moments(x: float, alpha: float, h: float) -> tuple[float, float]:
    """Mean and log-mass of exp(-(x - alpha u)^2/(2h)) on [-1, 1] by 30-digit quadrature."""
    with mpmath.workdps(30):
        x, alpha, h = mpmath.mpf(x), mpmath.mpf(alpha), mpmath.mpf(h)
        mode = max(-1, min(1, x / alpha)) if alpha > 0 else mpmath.mpf(0)
        peak = (x - alpha * mode) ** 2 / (2 * h)
        slope = alpha * abs(x - alpha * mode) / h
        scale = 1 / (slope + alpha / mpmath.sqrt(h) + 1)
        cuts = (0, 1, 2, 4, 8, 15, 30, 60)
        ends = {mode + sign * cut * scale for cut in cuts for sign in (-1, 1)}
        points = [mpmath.mpf(-1), *sorted(u for u in ends if -1 < u < 1), mpmath.mpf(1)]

        def density(u: mpmath.mpf) -> mpmath.mpf:
            return mpmath.exp(peak - (x - alpha * u) ** 2 / (2 * h))

        mass = mpmath.quad(density, points)
        mean = mpmath.quad(lambda u: u * density(u), points) / mass
        return float(mean), float(mpmath.log(mass) - peak)


@pytest.mark.slow
@pytest.mark.parametrize("h", [1e-12, 1e-6, 0.05, 0.5, 1 - 1e-6])
def test_truncated_normal_against_high_precision(h: float) -> None:
    alpha = np.sqrt(1 - h)
    for x in (1e-9, 0.3, 0.999, 1.0, 1.001, 2.0, 1e3, 1e6):
        mean, log_mass = evaluate(x, alpha, h)
        exact_mean, exact_log = moments(x, alpha, h)
        assert mean == pytest.approx(exact_mean, rel=1e-13)
        assert log_mass == pytest.approx(exact_log, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 1e-8, 1e-3])
def test_truncated_normal_when_nearly_flat(alpha: float) -> None:
    # the late times: the mean goes to 0 as alpha x / (3 h), and keeps its relative accuracy
    for x in (1e-5, 1.0, 30.0):
        mean, log_mass = evaluate(x, alpha, 1.0)
        exact_mean, exact_log = moments(x, alpha, 1.0)
        assert mean == pytest.approx(exact_mean, rel=1e-13, abs=1e-300)
        assert log_mass == pytest.approx(exact_log, rel=1e-13)
    assert evaluate(2.0, 1e-200, 1.0)[0] == pytest.approx(2e-200 / 3, rel=1e-13)


@given(st.floats(0, 3), st.floats(0.02, 0.999))
def test_truncated_normal_against_the_textbook_formula(x: float, h: float) -> None:
    alpha, std = np.sqrt(1 - h), np.sqrt(h)
    upper, lower = (alpha - x) / std, (-alpha - x) / std
    log_up, log_low = log_ndtr(upper), log_ndtr(lower)
    log_phi = log_up + np.log(-np.expm1(log_low - log_up))  # log of the difference of the tails
    bump = np.exp(-(upper**2) / 2 - log_phi) - np.exp(-(lower**2) / 2 - log_phi)
    mean, log_mass = evaluate(x, alpha, h)
    # u = (x - std z) / alpha turns the mass into sqrt(2 pi) std / alpha times the normal's
    expected = x / alpha - std / alpha * bump / np.sqrt(2 * np.pi)
    assert mean == pytest.approx(expected, abs=1e-8)
    assert log_mass == pytest.approx(log_phi + np.log(np.sqrt(2 * np.pi) * std / alpha), abs=1e-8)


def test_truncated_normal_is_odd_and_broadcasts() -> None:
    x = np.linspace(-3, 3, 13)[:, None]
    h = np.array([1e-6, 0.1, 0.9])
    mean, log_mass = truncated_normal(x, np.sqrt(1 - h), h)
    assert mean.shape == log_mass.shape == (13, 3)
    np.testing.assert_array_equal(mean, -mean[::-1])
    np.testing.assert_array_equal(log_mass, log_mass[::-1])
    assert np.all(mean[6] == 0)
    assert np.all(np.diff(mean, axis=0) >= 0)


def test_truncated_normal_tails_reach_the_edge() -> None:
    x = np.array([1e1, 1e4, 1e8, 1e16, 1e100])
    for h in (1e-12, 1e-3, 0.9):
        alpha = np.sqrt(1 - h)
        mean, log_mass = truncated_normal(x, np.asarray(alpha), np.asarray(h))
        # beyond the edge, 1 - u is exponential with rate alpha (x - alpha) / h
        gap = np.minimum(h / (alpha * (x - alpha)), 1)
        np.testing.assert_allclose(mean, 1 - gap, atol=3 * (h * gap + gap**2).max())
        assert np.all(np.isfinite(log_mass))


@pytest.mark.parametrize("order", [-0.5, 0.0, 0.5, 1.5, 10.0, 63.0, 499.5])
def test_bessel_against_high_precision(order: float) -> None:
    for x in (1e-12, 1e-3, 1.0, 7.0, 50.0, 400.0, 1e4):
        ratio, log_f = bessel_ratio(order, np.array([x]))
        with mpmath.workdps(30):
            z = mpmath.mpf(x)
            low, high = mpmath.besseli(order, z), mpmath.besseli(order + 1, z)
            exact = mpmath.loggamma(order + 1) + order * mpmath.log(2 / z) + mpmath.log(low) - z
            assert ratio[0] == pytest.approx(float(high / low / z), rel=4e-15)
        assert log_f[0] == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


@given(st.floats(0, 60), st.floats(1e-2, 700))
def test_bessel_ratio_against_scipy(order: float, x: float) -> None:
    low, high = ive(order, x), ive(order + 1, x)
    if high > 1e-280:  # below, scipy's functions underflow
        assert bessel_ratio(order, np.array([x]))[0][0] * x == pytest.approx(high / low, rel=1e-11)


def test_half_integer_orders_are_elementary() -> None:
    x = np.array([1e-8, 0.1, 1.0, 30.0, 1e5])
    ratio, log_f = bessel_ratio(-0.5, x)  # d = 1: tanh, and cosh
    np.testing.assert_allclose(x * ratio, np.tanh(x), rtol=1e-14)
    np.testing.assert_allclose(log_f, np.log1p(np.exp(-2 * x)) - np.log(2), rtol=1e-12, atol=1e-13)
    ratio, log_f = bessel_ratio(0.5, x[1:])  # d = 3: coth - 1/x, and sinh(x) / x
    np.testing.assert_allclose(x[1:] * ratio, 1 / np.tanh(x[1:]) - 1 / x[1:], rtol=1e-12)
    np.testing.assert_allclose(
        log_f, np.log(-np.expm1(-2 * x[1:]) / (2 * x[1:])), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("order", [-0.5, 0.0, 3.0, 5000.0])
def test_bessel_limits(order: float) -> None:
    ratio, log_f = bessel_ratio(order, np.array([0.0]))
    assert ratio[0] == pytest.approx(1 / (2 * (order + 1)), rel=1e-15)
    assert log_f[0] == pytest.approx(0, abs=1e-15)
    x = np.array([1e12, 1e14])
    ratio, log_f = bessel_ratio(order, x)
    # I_{nu+1} / I_nu = 1 - (2 nu + 1) / (2x) + O(nu^2 / x^2)
    np.testing.assert_allclose(x * ratio, 1 - (2 * order + 1) / (2 * x), rtol=1e-14)
    # e^{-x} Gamma(nu+1) (2/x)^nu I_nu(x), I_nu = e^x / sqrt(2 pi x) (1 - (4 nu^2 - 1) / (8x))
    leading = gammaln(order + 1) + order * np.log(2 / x) - 0.5 * np.log(2 * np.pi * x)
    leading -= (4 * order**2 - 1) / (8 * x)
    np.testing.assert_allclose(log_f, leading, rtol=1e-12)
