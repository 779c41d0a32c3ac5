"""The figure that spans dimensions, on planted tables."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.drawing.figure import draw
from analysis.drawing.plot import Topic
from analysis.figures.rates.dimensions import across_dimensions
from analysis.figures.study import study_plots
from analysis.verdicts.evaluation import Evaluation, evaluate


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    """One law at d = 1, 2 and 8: networks, and their limits."""
    grid = synthetic.Grid(seeds=3, limits=8, noise=0.1, own=0.02, widths=(), step_sizes=())
    first = synthetic.synthetic_table(grid)
    made = []
    for d in (1, 2, 8):
        renamed = {name: first[name] + f"-{d}" for name in ("trial_id", "point_id", "law_id")}
        made.append(first.assign(dimension=d, **renamed))
    return pd.concat(made, ignore_index=True)


@pytest.fixture(scope="module")
def evaluation(table: pd.DataFrame) -> Evaluation:
    return evaluate(table)


def test_exponents_stand_at_their_dimensions_with_their_intervals(evaluation: Evaluation) -> None:
    (plot,) = across_dimensions(evaluation)
    series = {s.label: s for s in plot.panels[0].series}
    for label, infinite in (("networks", False), ("infinite width", True)):
        own = [
            v
            for v in evaluation
            if v.quantity == "best_score_error" and np.isinf(v.fixed["width"]) == infinite
        ]
        assert len(own) == 3
        shown = series[label]
        assert shown.x == pytest.approx([v.dimension for v in own], rel=0.04)
        assert shown.y.tolist() == [v.exponent for v in own]
        assert shown.low is not None
        assert shown.high is not None
        assert shown.low.tolist() == [v.ci_low for v in own]
        assert shown.high.tolist() == [v.ci_high for v in own]
    bent = [v for v in evaluation if v.quantity == "best_score_error" and v.at_large is not None]
    thin = [s for s in plot.panels[0].series if s.role == "far"]
    assert sum(len(s.x) for s in thin) == len(bent) > 0
    bound = series["bound 2/(d + 3)"]
    assert bound.y == pytest.approx(2 / (bound.x + 3))
    assert (series["empirical Bayes, in theory"].y == 1).all()
    assert "95 %" in plot.note
    assert draw(plot).axes


@pytest.mark.slow
def test_it_comes_first_among_the_answers(evaluation: Evaluation) -> None:
    plots, _omitted = study_plots(evaluation)
    assert plots[0].name == "rates_against_dimension"
    assert plots[0].topic is Topic.ANSWER


def test_one_dimension_makes_no_curve(table: pd.DataFrame, evaluation: Evaluation) -> None:
    kept = tuple(v for v in evaluation if v.dimension < 2)
    assert not list(across_dimensions(replace(evaluation, verdicts=kept)))


def test_another_noise_is_not_what_the_bound_is_about(evaluation: Evaluation) -> None:
    more = tuple(replace(v, fixed={**v.fixed, "copies": 16}) for v in evaluation)
    (plot,) = across_dimensions(replace(evaluation, verdicts=(*evaluation.verdicts, *more)))
    (alone,) = across_dimensions(evaluation)
    pd.testing.assert_frame_equal(plot.table, alone.table)
    assert not list(across_dimensions(replace(evaluation, verdicts=more)))
