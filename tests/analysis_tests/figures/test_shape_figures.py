"""The bias-variance shape in time: planted exponents, and the figure that shows them."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.sweeps import settings, sweep
from analysis.figures.plot import Plot
from analysis.figures.shapes import REACH, TIMES, TITLE, around_best, bias_variance, fit_shape
from analysis.figures.trajectories import study_plots
from analysis.verdicts.evaluation import evaluate


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    made: pd.DataFrame = synthetic.synthetic_table(synthetic.Grid(noise=0.05, seeds=4))
    return made


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
    assert f"b = rp/(p+q) = {fit.rate:.2f}" in plot.caption
    assert len([s for s in plot.panels[0].series if s.role == "line"]) == 7


def test_few_sample_counts_are_refused_with_the_reason(synthetic: ModuleType) -> None:
    made = synthetic.synthetic_table(synthetic.Grid(samples=(256, 512, 1024), seeds=2))
    plots, omitted = study_plots(evaluate(made))
    assert not [p for p in plots if p.title == TITLE]
    reason = next(o.reason for o in omitted if o.title == TITLE)
    assert "samples takes 3 values" in reason
