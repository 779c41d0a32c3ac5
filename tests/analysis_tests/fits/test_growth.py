"""Laws of growth: known factors are divided out; offset fits have a drift gate of their own."""

from __future__ import annotations

import doctest
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from analysis.fits import growth
from analysis.fits.growth import OFFSET, POWER, Growth, log_power
from analysis.fits.power_law import fit_power_law
from analysis.theory import predictions
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.judging import Word, judge

X = np.geomspace(64, 8192, 8)


def test_docstring_example() -> None:
    result = doctest.testmod(growth)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("p", [-1.0, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("floor", [0.0, 0.3])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_planted_exponent_under_a_log_factor(p: float, floor: float, scale: float) -> None:
    law = log_power(p, offset=floor > 0)
    y = scale * (X**-0.4 + floor * X[-1] ** -0.4) * np.log(X) ** p
    fit = fit_power_law(X, y, growth=law)
    assert fit.exponent == pytest.approx(0.4, abs=1e-6)
    assert fit.growth == law
    assert fit.predict(X)[0] == pytest.approx(y, rel=1e-6)


def test_an_ignored_log_factor_is_missed() -> None:
    fit = fit_power_law(X, X**-0.4 * np.log(X))
    assert fit.exponent < 0.3
    assert fit.curvature is not None
    assert fit.curvature.p_value < 1e-3


def test_intervals_and_forecasts_are_those_of_the_curve_itself() -> None:
    rng = np.random.default_rng(0)
    y = X**-0.4 * np.log(X) * np.exp(0.1 * rng.standard_normal((5, 8)))
    law = log_power(1)
    fit = fit_power_law(np.tile(X, 5), y.ravel(), growth=law)
    divided = fit_power_law(np.tile(X, 5), (y / np.log(X)).ravel())
    assert fit.ci == pytest.approx(divided.ci)
    assert fit.holdout is not None
    assert fit.holdout.observed == pytest.approx(y[:, -1].mean())
    assert fit.holdout.predicted == pytest.approx(fit.holdout.observed, rel=0.3)
    value, low, high = fit.predict(X)
    assert (low < value).all()
    assert (value < high).all()


def test_where_a_factor_is_not_positive_the_fit_is_refused() -> None:
    fit = fit_power_law([1, 2, 4, 8], [4, 3, 2, 1], growth=log_power(1))
    assert not fit.ok
    assert "A x^-b log x is not positive at x = 1" in fit.message


def test_a_law_of_ones_own() -> None:
    law = Growth("loglog x", lambda x: np.log(np.log(x)))
    fit = fit_power_law(X, X**-0.5 * np.log(np.log(X)), growth=law)
    assert fit.exponent == pytest.approx(0.5, abs=1e-9)
    assert fit.growth.form == "A x^-b loglog x"


def test_a_prediction_brings_its_law(synthetic: ModuleType) -> None:
    """N^-0.65 is N^-(0.65 + s) log N with s the mean slope of log log N: the prediction's own law
    decides which exponent is judged."""
    table = synthetic.synthetic_table(synthetic.Grid(seeds=4))
    plain = predictions(2)[0]
    own = replace(plain, name="with a log factor", growth=log_power(1))
    by_name = {v.prediction: v for v in evaluate(table, extra=[own])}
    first, second = by_name[plain.name], by_name[own.name]
    assert first.fit["form"] == "A x^-b"
    assert second.fit["form"] == "A x^-b log x"
    n = np.array([64.0, 128, 256, 512, 1024, 2048, 4096])
    shift = np.polyfit(np.log(n), np.log(np.log(n)), 1)[0]
    assert second.exponent - first.exponent == pytest.approx(shift, abs=1e-3)
    assert "growth" not in second.to_dict()


def test_an_offset_fit_has_a_drift_gate() -> None:
    """Where the curve bends in a way that A x^-b + c does not, no verdict stands on the fit; where
    the form holds, a bend that is too small to matter closes none."""
    sharp = next(p for p in predictions(2) if p.name == "coupling against width")
    closed = 0
    for i in range(60):
        rng = np.random.default_rng(i)
        y = (X**-1.0 + 0.3 * X[-1] ** -1.0) * np.exp(0.02 * rng.standard_normal((5, 8)))
        fit = fit_power_law(np.tile(X, 5), y.ravel(), growth=OFFSET)
        verdict = judge(sharp, fit)
        closed += verdict.verdict is Word.UNDETERMINED
        assert verdict.verdict in (Word.AGREES, Word.UNDETERMINED)
    assert closed == 0
    bent = fit_power_law(X, np.exp(-1.0 * np.log(X) - 0.03 * (np.log(X) - 6) ** 2), growth=OFFSET)
    assert bent.misfit is not None
    assert bent.misfit.p_value < 0.01
    told = judge(sharp, bent)
    assert told.verdict is Word.UNDETERMINED
    assert "bends about A x^-b + c" in told.reason


@pytest.mark.slow
def test_the_gate_of_offset_fits_has_its_size() -> None:
    small = []
    for i in range(200):
        rng = np.random.default_rng(i)
        y = (X**-0.5 + 0.3 * X[-1] ** -0.5) * np.exp(0.1 * rng.standard_normal((5, 8)))
        fit = fit_power_law(np.tile(X, 5), y.ravel(), growth=OFFSET)
        assert fit.misfit is not None
        small.append(fit.misfit.p_value < 0.1)
    assert np.mean(small) == pytest.approx(0.1, abs=0.065)  # three standard errors
    assert fit_power_law(X[:4], X[:4] ** -0.5, growth=OFFSET).misfit is None
    exact = fit_power_law(X, X**-0.5 + 0.01, growth=OFFSET)
    assert exact.misfit is not None
    assert exact.misfit.p_value == 1.0
    assert POWER.form == "A x^-b"


def test_an_exponent_of_the_range_alone_is_not_extrapolated() -> None:
    """The same bent curve, asked at large x and over its range: 0.8 there, 1 here."""
    rng = np.random.default_rng(0)
    y = np.exp(-np.log(X) + 0.04 * (np.log(X) - np.log(X).mean()) ** 2)
    noisy = (y * np.exp(0.01 * rng.standard_normal((5, 8)))).ravel()
    sharp = replace(predictions(2)[4], exponent=1.0, margin=0.05)
    plain, within = (
        fit_power_law(np.tile(X, 5), noisy, growth=law) for law in (POWER, Growth(within=True))
    )
    assert plain.exponent == within.exponent == pytest.approx(1, abs=0.01)
    assert plain.asymptotic is not None
    assert judge(sharp, plain).verdict is not Word.AGREES
    assert within.asymptotic is None
    assert within.interval_at_large(0.9) == within.interval(0.9)
    assert judge(sharp, within).verdict is Word.AGREES
