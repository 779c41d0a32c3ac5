"""The exponent at large x of a curve that is known from elsewhere beyond its range."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.data.audit import WINDOW, window_exponents
from analysis.fits.asymptotic import DRIFT, KEPT, Asymptotic, Likely, likely
from analysis.fits.growth import Continuation
from analysis.fits.power_law import PowerLawFit, fit_power_law
from analysis.levels.intervals import Array, LevelMeans, Method, summarise
from analysis.levels.two_levels import Control
from analysis.theory import MARGIN, Kind, Prediction
from analysis.verdicts.judging import judge
from analysis.verdicts.rules import decide, word_at

X = 64 * 2.0 ** np.arange(6)
ALL = 16 * 2.0 ** np.arange(14)
SPAN = math.log(X[-1] / X[0])
BEYOND = 0.5


def waves(x: Array) -> Array:
    """log of a curve that is steep at N = 256 to 2048, with the exponent 0.5 beyond and before."""
    u = np.log(x / 64)
    return np.asarray(-BEYOND * u - 0.5 / (1 + np.exp(-1.3 * (u - math.log(10)))))


def straight(x: Array) -> Array:
    return np.asarray(-BEYOND * np.log(x))


def known(shape: Callable[[Array], Array] = waves, draws: int = 0) -> Continuation:
    values = shape(ALL)
    ends = window_exponents(ALL, values[:, None], float(X[-1]))
    return Continuation(
        "the spectrum", lambda at: np.interp(np.log(at), np.log(ALL), values),
        float(ends.min()), float(ends.max()), float(ALL[-1]), draws,
    )  # fmt: skip


def means(log_y: Array, sigma: float = 0.03, seeds: int = 8, draw: int = 0) -> LevelMeans:
    rng = np.random.default_rng(draw)
    y = np.exp(log_y + sigma * rng.standard_normal((seeds, len(log_y))))
    return summarise(np.tile(X, seeds), y.ravel(), None)


def limits(log_y: Array, of: Continuation | None, draw: int = 0, sigma: float = 0.03) -> Asymptotic:
    made = likely(means(log_y, sigma, draw=draw), of)
    assert made is not None
    return made.limits(0.95)


def test_with_waves_that_are_known_the_exponent_beyond_is_held() -> None:
    held, without, width = [], [], []
    beyond = ALL[X[-1] <= ALL]
    truth = -float(np.polyfit(np.log(beyond), waves(beyond), 1)[0])
    for draw in range(20):
        about, own = (limits(waves(X), of, draw) for of in (known(), None))
        assert about.known is not None
        assert not about.plain
        held.append(about.low <= truth <= about.high)
        without.append(own.low <= truth <= own.high)
        width.append(about.high - about.low)
    assert sum(held) == 20
    assert sum(without) <= 5
    assert np.median(width) < 0.12


def test_what_does_not_describe_the_curve_is_not_used() -> None:
    """A straight curve, and waves that the curve does not have."""
    about, own = (limits(straight(X), of, sigma=0.01) for of in (known(), None))
    assert about == own
    assert about.known is None


@pytest.mark.parametrize("tilt", [0.0, 0.1, -0.1])
def test_a_straight_curve_about_a_straight_one_has_the_plain_interval_and_the_drift(
    tilt: float,
) -> None:
    """What it has beside the other over the range may die out: limits reach to that at least."""
    log_y = straight(X) - tilt * np.log(X)
    fit = fit_power_law(np.tile(X, 2), np.exp([*log_y, *(log_y + 0.02 * (-1.0) ** np.arange(6))]))
    made = likely(fit.means, known(straight)) if fit.means is not None else None
    assert made is not None
    seen = made.limits(0.95)
    assert seen.straight
    assert not seen.bent
    assert (seen.known.low, seen.known.high) == pytest.approx((BEYOND, BEYOND))  # type: ignore[union-attr]
    assert seen.exponent == pytest.approx(fit.exponent)
    half = math.hypot((fit.ci[1] - fit.ci[0]) / 2, DRIFT / SPAN)
    assert seen.low == pytest.approx(min(fit.exponent - half, BEYOND))
    assert seen.high == pytest.approx(max(fit.exponent + half, BEYOND))
    wide = made.limits(0.99)
    assert wide.high - wide.low > seen.high - seen.low
    assert (wide.low < seen.low, wide.high > seen.high) == (tilt <= 0, tilt >= 0)
    ends = sorted((BEYOND, fit.exponent))
    assert seen.given == pytest.approx(tuple(ends))
    assert abs(fit.exponent - BEYOND - tilt) < 0.01


def test_a_correction_about_it_counts_from_where_the_straight_one_does_not() -> None:
    log_y = waves(X) + np.log1p(2 * (X / 64) ** -0.8)
    of = replace(known(), alone=False)
    made = likely(means(log_y, 0.002), of)
    assert made is not None
    assert made.known is not None
    assert made.straight - made.least > KEPT
    seen = made.limits(0.95)
    assert seen.bent
    assert not seen.straight
    assert seen.low <= BEYOND <= seen.high


def linked(draws: int, seed: int = 1) -> LevelMeans:
    rng = np.random.default_rng(seed)
    tilt = 0.03 * rng.standard_normal((draws, 1)) * np.log(X / 64)
    y = np.exp(straight(X) + tilt + 0.02 * rng.standard_normal((draws, len(X))))
    return summarise(np.tile(X, draws), y.ravel(), np.repeat(np.arange(draws), len(X)))


@pytest.mark.parametrize("audited", [1, 4, 10])
def test_draws_that_are_not_known_widen_it(audited: int) -> None:
    pooled = linked(10)
    made = likely(pooled, known(straight, audited))
    assert made is not None
    seen = made.limits(0.95)
    assert seen.known is not None
    slope = pooled.contrast(-pooled.polynomial(1)[1])
    half = (slope.interval(0.95)[1] - slope.interval(0.95)[0]) / 2
    assert not seen.bent
    assert seen.roughness == 1
    wanted = math.hypot(half, half * math.sqrt(10 / audited), DRIFT / SPAN)
    assert (seen.high - seen.low) / 2 == pytest.approx(wanted, rel=1e-6)


def test_exponents_of_windows_are_those_between_their_ends() -> None:
    x = 16 * 2.0 ** np.arange(10)
    logs = np.stack([waves(x), waves(x) - 0.01 * np.log(x)], axis=1)
    start = 96.0  # between two x: interpolated
    points = [start, *x[x > start]]

    def at(point: float, column: int) -> float:
        return float(np.interp(math.log(point), np.log(x), logs[:, column]))

    wanted = [
        (at(a, column) - at(b, column)) / math.log(b / a)
        for i, a in enumerate(points)
        for b in points[i + 1 :]
        if b / a >= WINDOW * (1 - 1e-9)
        for column in (0, 1)
    ]
    assert len(wanted) > 4
    np.testing.assert_allclose(np.sort(window_exponents(x, logs, start).ravel()), np.sort(wanted))


def prediction(kind: Kind, exponent: float) -> Prediction:
    return Prediction("planted", "error", "samples", exponent, kind, MARGIN, "planted", "")


def informed() -> PowerLawFit:
    rng = np.random.default_rng(0)
    y = np.exp(waves(X) + 0.03 * rng.standard_normal((8, len(X))))
    return replace(fit_power_law(np.tile(X, 8), y.ravel()), continuation=known())


def test_verdicts_say_what_they_rest_on_and_are_json() -> None:
    fit = informed()
    verdict = judge(prediction(Kind.BOUND, 0.4), fit)
    assert "the spectrum, which the curve follows, goes on to N = 131,072 with b" in verdict.reason
    told = json.loads(json.dumps(verdict.to_dict()))["fit"]["asymptotic"]
    assert told["known"]["name"] == "the spectrum"
    assert set(told["known"]) == {"name", "low", "high", "reach", "draws"}
    assert told["drift"] == pytest.approx(DRIFT / SPAN)
    json.dumps(limits(straight(X), None).to_dict())


def test_the_word_at_another_level_is_that_of_its_own_limits() -> None:
    fit = informed()
    asked = prediction(Kind.BOUND, 0.47)
    narrow, wide = (fit.interval_at_large(level) for level in (0.9, 0.999))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert word_at(asked, fit, fit.level) is decide(asked, fit)[0]


def test_what_is_known_may_itself_be_too_near_to_settle() -> None:
    fit = informed()
    seen = fit.asymptotic
    word, reason = decide(prediction(Kind.SHARP, seen.exponent / (1 - MARGIN)), fit)
    assert word == "undetermined"
    assert "no seeds would settle it: what the spectrum says" in reason


def test_no_seeds_tell_whether_what_stands_beside_it_dies_out() -> None:
    """The curve falls by x^-0.2 faster than what is known: at large values 0.5 to 0.7, whatever the
    seeds. A bound of 0.65 lies between, one of 0.4 below."""
    rng = np.random.default_rng(0)
    y = np.exp(straight(X) - 0.2 * np.log(X) + 0.03 * rng.standard_normal((8, len(X))))
    fit = replace(fit_power_law(np.tile(X, 8), y.ravel()), continuation=known(straight))
    word, reason = decide(prediction(Kind.BOUND, 0.65), fit)
    assert word == "undetermined"
    assert "no seeds would settle it" in reason
    assert decide(prediction(Kind.BOUND, 0.4), fit)[0] == "faster"


def test_few_levels_and_one_value_a_level_pass_through() -> None:
    two = summarise(np.tile(X[:2], 4), np.exp(np.arange(8) / 100), None)
    assert likely(two, known()) is None
    one = summarise(X, np.exp(waves(X) + 0.01 * np.sin(np.arange(6))), None)
    made = likely(one, known())
    assert made is None or isinstance(made, Likely)
    if made is not None:
        seen = made.limits(0.95)
        assert seen.low < seen.exponent < seen.high


def test_networks_beside_their_limit_are_judged_about_it() -> None:
    """Means of two levels: the kernel on the seeds of the networks and on more."""
    rng = np.random.default_rng(2)
    shared = 0.1 * rng.standard_normal((20, len(X)))
    y = np.exp(waves(X) + shared[:5] + 0.01 * rng.standard_normal((5, len(X))))
    limit = np.exp(waves(X) + shared)
    own = np.repeat(np.arange(20), len(X))
    control = Control(np.repeat(np.arange(5), len(X)), np.tile(X, 20), limit.ravel(), own)
    both = summarise(np.tile(X, 5), y.ravel(), None, control=control)
    assert both.method is Method.TWO_LEVELS
    made = likely(both, known())
    assert made is not None
    assert made.known is not None


@pytest.mark.parametrize(("sigma", "seeds", "depth"), [(0.03, 5, 0.5), (0.1, 24, 0.5)])
def test_waves_that_a_straight_curve_does_not_have_are_not_taken(
    sigma: float, seeds: int, depth: float
) -> None:
    """A correction would describe their like, so that it is the straight curve that tells."""

    def wrong(x: Array) -> Array:
        return straight(x) + depth * np.sin(np.pi * np.log(x / 64) / SPAN)

    used, inside = [], []
    for draw in range(30):
        made = likely(means(straight(X), sigma, seeds, draw), known(wrong))
        assert made is not None
        found = made.limits(0.95)
        used.append(found.known is not None)
        inside.append(found.low <= BEYOND <= found.high)
    assert sum(used) <= 6
    assert sum(inside) >= 24
