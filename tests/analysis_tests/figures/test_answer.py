"""The figures that a page begins with, on planted tables."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.sweeps import law_names
from analysis.drawing.figure import draw
from analysis.drawing.plot import Plot
from analysis.figures.rates.answer import answer_plots, groups, primary
from analysis.figures.study import study_plots
from analysis.verdicts.evaluation import Evaluation, evaluate


@pytest.fixture(scope="module")
def evaluation(synthetic: ModuleType) -> Evaluation:
    """Two laws; networks, and their limits."""
    grid = synthetic.Grid(
        laws=("atoms", "gaussian_mixture"), seeds=3, limits=8, noise=0.1, own=0.02, recorded=16
    )
    return evaluate(synthetic.synthetic_table(grid))


@pytest.fixture(scope="module")
def plots(evaluation: Evaluation) -> tuple[Plot, ...]:
    return tuple(answer_plots(evaluation))


def test_every_exponent_stands_on_its_row_with_its_interval(
    plots: tuple[Plot, ...], evaluation: Evaluation
) -> None:
    panel = plots[0].panels[0]
    drawn = [s for s in panel.series if s.role in ("interval", "hollow_interval")]
    shown = sorted(
        (b, low, high, s.role == "hollow_interval")
        for s in drawn
        if s.low is not None and s.high is not None
        for b, low, high in zip(s.x, s.low, s.high, strict=True)
    )
    wanted = sorted(
        (v.exponent, v.ci_low, v.ci_high, v.fixed.get("width") == np.inf)
        for v in evaluation
        if np.isfinite(v.exponent)
    )
    assert shown == wanted
    rows = {(v.quantity, v.axis) for v in evaluation if np.isfinite(v.exponent)}
    assert len(panel.rows) == len(rows)
    places = np.concatenate([s.y for s in drawn])
    assert len(set(places)) == len(places), "two exponents hide each other"
    assert np.abs(places - places.round()).max() < 0.5


def test_theory_stands_on_the_same_rows(plots: tuple[Plot, ...]) -> None:
    panel = plots[0].panels[0]
    targets = [s for s in panel.series if s.role == "target"]
    best = [s for s in targets if panel.rows[int(-s.y[0])] == "best error in $N$"]
    assert [s.x[0] for s in best] == [pytest.approx(0.4)]
    assert best[0].low is not None
    assert best[0].high is not None
    assert (best[0].low[0], best[0].high[0]) == (pytest.approx(0.4), np.inf)  # a bound
    time = next(s for s in targets if panel.rows[int(-s.y[0])] == "best time in $N$")
    assert time.low is not None
    assert time.low[0] == pytest.approx(-0.8 * 1.15)
    names = [t.get_text() for t in draw(plots[0]).axes[0].get_yticklabels()]
    assert names == list(panel.rows)


def test_the_curves_of_all_laws_stand_on_one_panel(
    plots: tuple[Plot, ...], evaluation: Evaluation
) -> None:
    panel = plots[1].panels[0]
    labels = [s.label for s in panel.series if s.role == "points"]
    assert labels == ["atoms", "gaussian_mixture"]
    bounds = [s for s in panel.series if s.role == "theory"]
    means = [s for s in panel.series if s.role == "points"]
    for bound, mean in zip(bounds, means, strict=True):
        assert bound.y[0] == pytest.approx(mean.y[0], rel=0.2)
        assert np.log(bound.y[1] / bound.y[0]) / np.log(bound.x[1] / bound.x[0]) == pytest.approx(
            -0.4
        )
    chosen = [primary(own) for own in groups(evaluation, law_names(evaluation.table)).values()]
    assert {v.quantity for v in chosen} == {"best_score_error"}
    assert all(np.isfinite(v.fixed["width"]) for v in chosen)


def test_what_no_kernel_is_the_limit_of_is_not_blamed_on_the_study(
    synthetic: ModuleType,
) -> None:
    grid = synthetic.Grid(seeds=2, kernel=False, samples=(64, 128, 256), recorded=10)
    frame = synthetic.synthetic_table(grid)
    reasons = {name: omitted(frame.assign(trainer=name)) for name in ("descent", "adam", "my:Own")}
    assert reasons["descent"] == "the study left the kernel reference out (kernel: false)"
    assert reasons["adam"] == "kernel descent is no limit of trainer adam"
    assert reasons["my:Own"] == "kernel descent is no limit of trainer my:Own"


def omitted(frame: pd.DataFrame) -> str:
    _plots, left_out = study_plots(evaluate(frame))
    return next(o.reason for o in left_out if o.title == "The four terms of the error")


def test_the_best_error_is_said_to_be_beside_a_bound_where_theory_has_one(
    evaluation: Evaluation, plots: tuple[Plot, ...]
) -> None:
    assert "theory's bound, dashed, below which a curve falls faster" in plots[-1].caption
    sharp = tuple(replace(v, kind="sharp", theory_exponent=0.6) for v in evaluation)
    *_others, plot = answer_plots(replace(evaluation, verdicts=sharp))
    assert plot.name == "best_error"
    assert "theory's rate, dashed." in plot.caption
    assert "bound" not in plot.caption
