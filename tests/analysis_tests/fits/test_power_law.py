"""Power-law fits: planted exponents, refusals, intervals against theory and simulation."""

from __future__ import annotations

import doctest
import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from power_laws import X, sample
from scipy import stats

from analysis.fits import power_law
from analysis.fits.power_law import FitStatus, fit_power_law
from analysis.levels.intervals import Method, distinct, summarise

# --- planted exponents --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale_x", "scale_y"),
    [(1.0, 1.0), (1e-12, 1e-12), (1e-12, 1e12), (1e12, 1e-12), (1e12, 1e12)],
)
@pytest.mark.parametrize("b", [-0.8, 0.05, 0.5, 1.0, 2.5])
def test_planted_exponent_without_noise(scale_x: float, scale_y: float, b: float) -> None:
    x = X * scale_x
    fit = fit_power_law(x, scale_y * (x / x[0]) ** -b)
    assert fit.ok
    assert fit.exponent == pytest.approx(b, abs=1e-9)
    assert fit.amplitude == pytest.approx(scale_y * x[0] ** b, rel=1e-6)
    assert fit.curvature is not None
    assert fit.curvature.p_value == 1.0


@pytest.mark.parametrize(("scale_x", "scale_y"), [(1.0, 1.0), (1e-6, 1e6), (1e6, 1e-6)])
@pytest.mark.parametrize("b", [-0.8, 0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.0, 1e-3, 0.3, 1.0, 10.0])
def test_planted_exponent_and_offset_without_noise(
    scale_x: float, scale_y: float, b: float, share: float
) -> None:
    signal = (X / X[-1]) ** -b
    fit = fit_power_law(X * scale_x, scale_y * (signal + share * signal.min()), offset=True)
    assert fit.status is FitStatus.OK, fit.message
    assert fit.exponent == pytest.approx(b, abs=1e-6)
    assert fit.offset == pytest.approx(scale_y * share * signal.min(), rel=1e-4, abs=1e-9 * scale_y)
    assert fit.ci[0] == pytest.approx(b, abs=1e-5)
    assert fit.ci[1] == pytest.approx(b, abs=1e-5)


def test_planted_exponent_over_twelve_decades_of_x() -> None:
    x = np.logspace(-6, 6, 13)
    for offset in (False, True):
        fit = fit_power_law(x, 3.0 * x**-0.4, offset=offset)
        assert fit.exponent == pytest.approx(0.4, abs=1e-6)
        assert fit.range_decades == pytest.approx(12)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    b=st.floats(-2, 3),
    scale=st.floats(-100, 100),
    order=st.permutations(range(14)),
)
def test_scale_and_order_do_not_matter(b: float, scale: float, order: list[int]) -> None:
    x, y, _ = sample(2, 0.1)
    one = fit_power_law(x, y * x ** (0.5 - b))
    other = fit_power_law(x[order] * 7, y[order] * x[order] ** (0.5 - b) * 10.0**scale)
    assert other.exponent == pytest.approx(one.exponent, abs=1e-9)
    assert other.ci == pytest.approx(one.ci, abs=1e-9)


def test_docstring_example() -> None:
    assert doctest.testmod(power_law).attempted > 0
    assert doctest.testmod(power_law).failed == 0


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.geomspace(1, 1e6, 7), 1e300 * np.geomspace(1, 1e-6, 7)),
        (np.geomspace(1, 1e6, 7), 1e-290 * np.geomspace(1, 1e-6, 7)),
        (np.geomspace(1e-200, 1e200, 7), np.geomspace(1e100, 1e-100, 7)),
        (np.geomspace(1e-3, 1e3, 7), np.geomspace(1e-300, 1e300, 7)),
        (2013.0 + np.arange(6), 2.0 ** -np.arange(6)),
        (2460000.5 + np.arange(6), 3.0 ** np.arange(6)),
        (1.893456e9 + 3600 * np.arange(6), 0.9 ** np.arange(6)),
    ],
    ids=["huge", "tiny", "wide x", "wide y", "years", "Julian days", "seconds"],
)
def test_no_scale_overflows(x: np.ndarray, y: np.ndarray, offset: bool) -> None:
    """Slopes by numpy's own fit in centred logs; A is given by its logarithm."""
    with np.errstate(all="raise", under="ignore"):
        fit = fit_power_law(x, y, offset=offset)
    if not fit.ok:
        assert offset
        assert "beyond" in fit.message
        return
    u = np.log(x)
    slope = np.polyfit(u - u.mean(), np.log(y), 1)[0]
    assert fit.exponent == pytest.approx(-slope, rel=1e-3 if offset else 1e-6)
    centre = np.log(x).mean()
    assert fit.log_amplitude == pytest.approx(
        np.log(y).mean() + fit.exponent * centre, rel=1e-3, abs=1e-6
    )
    assert fit.predict(x)[0] == pytest.approx(y, rel=1e-2)


def test_a_level_may_span_what_floats_hold() -> None:
    """Leaving out the largest value leaves the others with all their digits."""
    y = np.array([1e150, 1e-150, 1.0, 1e-17, 1e5, 1e-20])
    means = summarise(np.repeat([1.0, 2.0, 3.0], 2), y)
    expected = [2 * np.log(p / 2 + q / 2) - (np.log(p) + np.log(q)) / 2 for p, q in y.reshape(3, 2)]
    assert means.log_mean == pytest.approx(expected)


def test_levels_equal_to_rounding_are_one() -> None:
    x = [0.1, 0.2, 0.3, 0.1 + 0.2, 0.6, 0.9]
    fit = fit_power_law(x, np.power(x, -0.5))
    assert fit.levels == (0.1, 0.2, 0.3, 0.6, 0.9)
    assert "such as 0.3 and 0.30000000000000004" in fit.message
    assert fit_power_law([0.1, 0.3, 0.1 + 0.2], [3, 2, 2]).message.startswith("2 distinct x")
    near = 1.893456e9 + np.arange(4)
    assert fit_power_law(near, [4, 3, 2, 1]).points == 4
    values, where = distinct(np.array([3.0, 0.1 + 0.2, 3.0, 0.3, -1.0]))
    assert values == pytest.approx([-1.0, 0.3, 3.0], abs=0)
    assert where.tolist() == [2, 1, 2, 1, 0]


# --- intervals ----------------------------------------------------------------------------------


def test_method_follows_from_the_design() -> None:
    x, y, seed = sample(4, 0.1)
    assert fit_power_law(x, y).method is Method.LEVELS
    assert fit_power_law(x, y, seed).method is Method.SEEDS
    assert fit_power_law(x, y, np.arange(len(x))).method is Method.LEVELS  # no seed stands twice
    assert fit_power_law(X, y[: len(X)]).method is Method.RESIDUALS
    assert fit_power_law(x, y, offset=True).method is Method.PROFILE


def test_one_value_a_level_is_ordinary_least_squares() -> None:
    x, y, _ = sample(1, 0.2)
    line = stats.linregress(np.log(x), np.log(y))
    fit = fit_power_law(x, y)
    half = stats.t.ppf(0.975, len(x) - 2) * line.stderr
    assert fit.exponent == pytest.approx(-line.slope)
    assert fit.ci == pytest.approx((-line.slope - half, -line.slope + half))
    assert "one value at some level" in fit.message


def test_small_noise_gives_the_delta_method() -> None:
    x, y, _ = sample(6, 1e-4)
    table = y.reshape(6, -1)
    u = np.log(X) - np.log(X).mean()
    variance = table.var(axis=0, ddof=1) / 6 / table.mean(axis=0) ** 2
    error = math.sqrt(np.sum((u / (u @ u)) ** 2 * variance))
    fit = fit_power_law(x, y)
    assert fit.means is not None
    assert fit.means.contrast(-fit.means.polynomial(1)[1]).error == pytest.approx(error, rel=1e-3)


def test_small_noise_gives_the_spread_of_per_seed_slopes() -> None:
    x, y, seed = sample(6, 1e-4)
    slopes = [-np.polyfit(np.log(X), np.log(row), 1)[0] for row in y.reshape(6, -1)]
    half = stats.t.ppf(0.975, 5) * np.std(slopes, ddof=1) / math.sqrt(6)
    fit = fit_power_law(x, y, seed)
    assert fit.exponent == pytest.approx(np.mean(slopes), abs=1e-7)
    assert fit.ci == pytest.approx((np.mean(slopes) - half, np.mean(slopes) + half), rel=1e-3)


def test_pseudo_values_are_those_of_leaving_each_seed_out() -> None:
    x, y, seed = sample(5, 0.5)
    table = y.reshape(5, -1)
    whole = np.log(table.mean(axis=0))
    left = np.log(np.array([np.delete(table, s, axis=0).mean(axis=0) for s in range(5)]))
    means = summarise(x, y, seed)
    assert means.log_mean == pytest.approx(5 * whole - 4 * left.mean(axis=0))
    assert means.variance == pytest.approx(left.var(axis=0) * 4)
    assert means.clusters.scores == pytest.approx((left.mean(axis=0) - left) * 4 / 5)


def test_shared_effects_cancel_in_the_slope_only_if_seeds_are_given() -> None:
    x, y, seed = sample(8, 0.02)
    y = y * np.exp(np.random.default_rng(5).standard_normal(8))[seed]
    linked, loose = fit_power_law(x, y, seed), fit_power_law(x, y)
    assert np.ptp(linked.ci) < 0.1 * np.ptp(loose.ci)
    assert abs(linked.exponent - 0.5) < 0.05


def test_a_missing_trial_keeps_the_seeds_linked() -> None:
    x, y, seed = sample(8, 0.05)
    keep = np.ones(len(x), dtype=bool)
    keep[[3, 20]] = False
    whole, part = fit_power_law(x, y, seed), fit_power_law(x[keep], y[keep], seed[keep])
    assert part.method is Method.SEEDS
    assert part.exponent == pytest.approx(whole.exponent, abs=0.01)
    assert np.ptp(part.ci) == pytest.approx(np.ptp(whole.ci), rel=0.5)


def test_higher_level_gives_wider_interval() -> None:
    for offset in (False, True):
        fit = fit_power_law(*sample(5, 0.05, floor=0.3)[:2], offset=offset)
        assert fit.interval(fit.level) == pytest.approx(fit.ci)
        assert fit.interval(0.99)[0] < fit.ci[0] < fit.exponent < fit.ci[1] < fit.interval(0.99)[1]


def test_band_holds_the_fit_and_its_truth() -> None:
    hits = 0
    for i in range(100):
        fit = fit_power_law(*sample(5, 0.1, random_seed=i)[:2])
        y, low, high = fit.predict([100.0, 10_000.0])
        assert (low < y).all()
        assert (y < high).all()
        truth = np.array([100.0, 10_000.0]) ** -0.5 * math.exp(0.1**2 / 2)
        hits += int(((low <= truth) & (truth <= high)).sum())
    assert 0.88 <= hits / 200 <= 0.99
    floored = fit_power_law(*sample(5, 0.02, floor=0.5)[:2], offset=True)
    y, low, high = floored.predict(X)
    assert floored.means is not None
    assert y == pytest.approx(floored.means.mean, rel=0.05)
    assert (low < y).all()
    assert (y < high).all()


def test_local_slopes_and_residuals_describe_the_curve() -> None:
    y = X**-0.5 * (1 + 3 * (X / 64) ** -0.5)
    fit = fit_power_law(X, y)
    slopes = [s.exponent for s in fit.local_slopes]
    assert len(slopes) == len(X) - 2
    assert slopes == sorted(slopes, reverse=True)
    assert (fit.local_slopes[0].low, fit.local_slopes[-1].high) == (64, 4096)
    assert fit.end_slope is not None
    assert fit.forecast_slope is not None
    assert fit.forecast_slope.exponent < fit.end_slope.exponent < fit.exponent
    assert sum(fit.residuals) == pytest.approx(0, abs=1e-12)
    assert fit.holdout is not None
    assert fit.holdout.observed > fit.holdout.predicted


def test_quadratic_slopes_are_exact_for_a_quadratic() -> None:
    u = np.log(X)
    fit = fit_power_law(X, np.exp(-0.3 * u - 0.02 * u**2))
    assert fit.end_slope is not None
    assert fit.forecast_slope is not None
    assert fit.end_slope.exponent == pytest.approx(0.3 + 0.04 * u[-1])
    assert fit.forecast_slope.exponent == pytest.approx(0.3 + 0.04 * (2 * u[-1] - u[0]))
    assert fit.curvature is not None
    assert fit.curvature.drift == pytest.approx(0.04 * (u[-1] - u[0]))


def test_spread_is_the_largest_departure() -> None:
    y = np.array([1.0, 1.0, 1.1])
    rng = np.random.default_rng(0)
    table = y * np.exp(0.001 * rng.standard_normal((6, 3)))
    fit = fit_power_law(np.tile([0.25, 0.5, 1.0], 6), table.ravel())
    truth = np.abs(np.log(y) - np.log(y).mean()).max()
    assert fit.spread is not None
    assert fit.spread.low < truth < fit.spread.high
    assert fit.spread.estimate == pytest.approx(truth, rel=0.02)


def test_log_bias_is_taken_out() -> None:
    """Noise that falls with x bends the log of the mean of few values; the shift is reported."""
    rng = np.random.default_rng(1)
    sigma = 0.6 * (X / 64) ** -0.5
    shifts, exponents = [], []
    for _ in range(400):
        y = X**-0.5 * np.exp(sigma * rng.standard_normal((3, len(X))) - sigma**2 / 2)
        fit = fit_power_law(np.tile(X, 3), y.ravel())
        shifts.append(fit.log_bias)
        exponents.append(fit.exponent)
    error = np.std(exponents) / 20
    assert np.mean(shifts) < -2 * error
    assert abs(np.mean(exponents) - 0.5) < abs(np.mean(np.add(exponents, shifts)) - 0.5)
    assert np.mean(exponents) == pytest.approx(0.5, abs=3 * error)


# --- coverage, in small; benchmarks/coverage.py in full ------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("lognormal 0.3", 3),
        ("variance falls as x^-1/2", 5),
        ("chi-square, 4 degrees", 3),
        ("seeds tilt the curve", 5),
        ("floor 30 %, noise 0.1", 3),
        ("floor 100 %, noise 0.3", 5),
    ],
)
def test_intervals_hold_the_truth(coverage: ModuleType, name: str, seeds: int) -> None:
    scenario = next(s for s in coverage.SCENARIOS if s.name == name)
    repetitions = 120 if scenario.floor else 300
    result = coverage.coverage(scenario, seeds, repetitions)
    assert result.missed == 0
    # three standard errors about [92 %, 98 %] of a simulation this short
    slack = 3 * math.sqrt(0.95 * 0.05 / repetitions)
    assert 0.92 - slack <= result.coverage
    if not scenario.floor:
        assert result.coverage <= 0.98 + slack


def test_a_floor_that_is_ignored_is_not_covered(coverage: ModuleType) -> None:
    """The simulation can fail: the wrong form misses the planted exponent."""
    x, y, _ = sample(10, 0.05, floor=1.0)
    plain, form = fit_power_law(x, y), fit_power_law(x, y, offset=True)
    assert plain.ci[1] < 0.5
    assert form.ci[0] <= 0.5 <= form.ci[1]


@pytest.mark.slow
def test_geometric_means_hold_where_values_are_very_skewed() -> None:
    """Four seeds of lognormal noise of size 1, as best times have at small N."""
    rng = np.random.default_rng(8)
    x = np.repeat([64.0, 128, 256, 512, 1024], 4)
    held = np.zeros((400, 2))
    for row in held:
        y = x**0.6 * np.exp(rng.normal(size=len(x)))
        for at, geometric in enumerate((True, False)):
            low, high = fit_power_law(x, y, geometric=geometric).ci
            row[at] = low <= -0.6 <= high
    covered, arithmetic = held.mean(axis=0)
    assert 0.93 <= covered <= 0.985  # 0.95 and three standard errors
    assert arithmetic < covered
    fit = fit_power_law(x, y, geometric=True)
    slope = np.polyfit(np.log(x), np.log(y), 1)[0]
    assert fit.exponent == pytest.approx(-slope)


# --- values that repeat ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("digits", [3, 5, 8])
@pytest.mark.parametrize("linked", [False, True])
def test_seeds_that_all_say_the_same_leave_the_rounding_to_judge_by(
    digits: int, linked: bool
) -> None:
    """What is left of a power law kept to so many digits is rounding; copies do not hide it."""
    rng = np.random.default_rng(digits)
    seed = np.repeat(np.arange(3), len(X)) if linked else None
    held = 0
    for _ in range(100):
        b = rng.uniform(0.1, 1)
        y = np.array([float(f"{v:.{digits}g}") for v in rng.uniform(1, 10) * X**-b])
        fit, single = fit_power_law(np.tile(X, 3), np.tile(y, 3), seed), fit_power_law(X, y)
        assert fit.ci == pytest.approx(single.ci, rel=1e-12)
        assert fit.method is Method.RESIDUALS
        assert fit.message.startswith("values repeat at most levels: ")
        held += fit.ci[0] <= b <= fit.ci[1]
    assert held >= 90


def test_values_that_repeat_at_a_few_levels_are_values_like_others() -> None:
    x, y, seed = sample(4, 0.1)
    for equal, method in ((3, Method.SEEDS), (4, Method.RESIDUALS)):
        some = np.where(np.isin(x, X[:equal]), x**-0.5, y)
        assert fit_power_law(x, some, seed).method is method
    one_value = np.isin(x, X[1:]) | (seed == 0)
    assert fit_power_law(x[one_value], y[one_value]).message.startswith("one value at some level")


# --- levels with one seed, where seeds link levels ------------------------------------------------


def test_a_level_with_one_seed_is_left_out_where_seeds_link_levels() -> None:
    """The scatter about the line does not show what a seed tilts; others' slopes do."""
    x, y, seed = sample(4, 0.01)
    y = y * (x / X[0]) ** (0.1 * np.arange(4))[seed]
    lone = (x == X[-1]) & (seed > 0)
    x, y, seed = x[~lone], y[~lone], seed[~lone]
    fit, rest = fit_power_law(x, y, seed), [v[x < X[-1]] for v in (x, y, seed)]
    assert fit.ok
    assert fit.ci == fit_power_law(*rest).ci
    assert (fit.method, fit.trials, fit.points) == (Method.SEEDS, 4 * (len(X) - 1), len(X) - 1)
    assert fit.ci[0] < 0.5 < fit.ci[1]
    assert f"x = {X[-1]:g} left out: one seed there" in fit.message
    assert fit_power_law(x, y).points == len(X)  # nothing links them
    few = np.isin(x, X[-3:])
    refused = fit_power_law(x[few], y[few], seed[few])
    assert not refused.ok
    assert refused.message.startswith("2 distinct x")
    assert "one seed there" in refused.message


def test_one_seed_alone_gives_no_interval_where_it_links_levels() -> None:
    x, y, seed = sample(1, 0.1)
    fit = fit_power_law(x, y, seed)
    assert not fit.ok
    assert "add seeds, 2 at each x at least" in fit.message
    assert fit.spread is None
    assert fit_power_law(np.tile(x, 2), np.tile(y, 2), np.tile(seed, 2)).message == fit.message
    assert fit_power_law(x, y, np.arange(len(x))).ok  # each of its own data
    assert fit_power_law(x, y).ok
