"""The bias-variance shape in time: planted exponents, and the figure that shows them."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.sweeps import settings, sweep
from analysis.drawing.plot import Plot
from analysis.figures.shapes import (
    CROSSOVER,
    REACH,
    TIMES,
    TITLE,
    around_best,
    bias_variance,
    fit_shape,
    lazy_width,
)
from analysis.figures.study import study_plots
from analysis.verdicts.evaluation import evaluate


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    made: pd.DataFrame = synthetic.synthetic_table(synthetic.Grid(noise=0.05, seeds=4))
    return made


@pytest.mark.slow
def test_planted_shape_and_its_rate(table: pd.DataFrame, synthetic: ModuleType) -> None:
    setting = settings(table)[0]
    along = sweep(setting.frame, "samples")
    assert along is not None
    rows = around_best(along.frame)
    best = rows["samples"].map(synthetic.best_time)
    assert (np.abs(np.log(rows["effective_time"] / best)) < np.log(1.5 * REACH)).all()
    assert rows["effective_time"].nunique() <= TIMES
    fit = fit_shape(rows)
    assert fit.ok
    planted = {
        (0, "time"): synthetic.BIAS_POWER,
        (1, "time"): -synthetic.VARIANCE_POWER,
        (1, "samples"): 1.0,
    }
    for slot, value in planted.items():
        assert fit.exponents[slot] == pytest.approx(value, abs=0.05)
    assert fit.rate == pytest.approx(synthetic.ERROR_EXPONENT, abs=0.03)
    assert fit.rate_ci[0] < synthetic.ERROR_EXPONENT < fit.rate_ci[1]
    plot = bias_variance(setting, along)
    assert isinstance(plot, Plot)
    assert f"b = rp/(p+q) = {fit.rate:.2f}" in plot.note
    assert len([s for s in plot.panels[0].series if s.role == "line"]) == 7


def test_few_sample_counts_are_refused_with_the_reason(synthetic: ModuleType) -> None:
    made = synthetic.synthetic_table(synthetic.Grid(samples=(256, 512, 1024), seeds=2))
    plots, omitted = study_plots(evaluate(made))
    assert not [p for p in plots if p.title == TITLE]
    reason = next(o.reason for o in omitted if o.title == TITLE)
    assert "samples takes 3 values" in reason


def test_the_lazy_width_is_the_planted_one(table: pd.DataFrame) -> None:
    """m* = 3 s, in a table whose coupling is C / (m + m*)."""
    s, m = table["effective_time"].to_numpy(dtype=float), table["width"].to_numpy(dtype=float)
    along = sweep(settings(table.assign(coupling=0.01 * s / (m + 3 * s)))[0].frame, "width")
    assert along is not None
    plot = lazy_width(settings(table)[0], along)
    assert isinstance(plot, Plot)
    against_m, m_star, collapse = plot.panels
    at = next(series for series in m_star.series if series.role == "points")
    assert at.y == pytest.approx(3 * at.x, rel=0.01)
    for series in collapse.series:
        assert series.y == pytest.approx(series.x / (1 + series.x), rel=0.01)
    assert "grows as s^1.00" in plot.note
    assert "N = " in plot.note
    assert len({series.label for series in against_m.series if series.label}) == 5


def test_without_a_lazy_width_the_reason_is_told(table: pd.DataFrame) -> None:
    setting = settings(table)[0]
    along = sweep(setting.frame, "width")
    assert along is not None
    always = lazy_width(setting, along)  # the planted coupling is all 1/m
    assert always == (CROSSOVER, "the coupling falls as 1/m at every width and time: all are lazy")
    none = sweep(settings(table.assign(coupling=np.nan))[0].frame, "width")
    assert none is not None
    assert lazy_width(setting, none) == (CROSSOVER, "the table holds no coupling")
