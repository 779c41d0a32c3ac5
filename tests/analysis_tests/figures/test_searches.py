"""Figures of searches: their numbers follow from the evaluations by another route."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import tidy
from analysis.data.schema import table_from
from analysis.drawing.plot import Plot
from analysis.figures.tuning import tuning_plots
from analysis.searches.best import IMPORTANCE
from analysis.searches.tuning import COLUMNS, POINT
from trainers.trial import Trajectory, TrialConfig

EVALUATIONS, REPETITIONS = 20, 3
SHARES = {"step_size": 0.3, "width": 0.7}


@pytest.fixture(scope="module")
def planted() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Plot]]:
    rng = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    made = []
    for r in range(REPETITIONS):
        for n in range(EVALUATIONS):
            c = TrialConfig.model_validate(
                {
                    "law": {"kind": "gaussian_mixture", "dimension": 2}, "samples": 64, "seed": r,
                    "width": int(2 ** rng.integers(4, 9)), "steps": 10,
                    "step_size": float(np.exp(rng.uniform(np.log(0.1), np.log(4)))),
                    "bias": bool(rng.integers(2)),
                }
            )  # fmt: skip
            made.append(Trajectory(c, [0], values={}, series={}))
            rows.append(
                {
                    "law_id": c.law_id, "law_label": c.law.label, "dimension": 2, "samples": 64,
                    "t_min": 0.05, "steps": 10, "method": "tpe", "repetition": r, "number": n,
                    "trial_id": c.trial_id, "state": "COMPLETE", "message": "",
                    "value": rng.uniform(1, 2), "score_error": 0.1, "step": 10, "operations": 1.0,
                }
            )  # fmt: skip
    evaluations = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    point = {name: rows[0][name] for name in POINT}
    importance = pd.DataFrame(
        [
            {
                **point,
                "hyperparameter": name,
                "importance": share,
                "evaluations": 60,
                "samplers": "tpe",
            }
            for name, share in SHARES.items()
        ],
        columns=IMPORTANCE,
    )
    frame = tidy(table_from(made, "s").to_pandas())
    plots = tuning_plots(evaluations, frame, importance)
    return evaluations, frame, {plot.name.split("_N64_")[-1]: plot for plot in plots}


def test_the_loss_so_far_is_the_running_minimum_of_each_search(planted: Any) -> None:
    evaluations, _, plots = planted
    lines = plots["so_far"].panels[0].series
    assert len(lines) == REPETITIONS
    assert [line.label for line in lines] == ["search: tpe", "", ""]
    for r, line in enumerate(lines):
        own = evaluations[evaluations["repetition"] == r].sort_values("number")["value"]
        for n, least in enumerate(np.minimum.accumulate(own), 1):
            assert line.y[line.x == n][-1] == least


def test_importance_stands_largest_first(planted: Any) -> None:
    assert "60 evaluations of tpe" in planted[2]["importance"].note
    (panel,) = planted[2]["importance"].panels
    assert panel.rows == ("width $m$", r"step size $\eta$")
    (series,) = panel.series
    assert series.x.tolist() == [0.7, 0.3]
    assert series.y.tolist() == [0, -1]


def test_lines_are_the_best_tenth_and_stand_where_their_values_are(planted: Any) -> None:
    evaluations, frame, plots = planted
    (panel,) = plots["coordinates"].panels
    trials = frame.drop_duplicates("trial_id").set_index("trial_id")
    lines = [s for s in panel.series if s.role == "line"]
    (others,) = [s for s in panel.series if s.role == "trials"]
    wanted = []
    for _, own in evaluations.groupby("repetition"):
        for trial_id in own.sort_values("value")["trial_id"][: EVALUATIONS // 10]:
            step = trials.loc[trial_id, "step_size"]
            ends = trials["step_size"].min(), trials["step_size"].max()
            wanted.append(np.log(step / ends[0]) / np.log(ends[1] / ends[0]))
    assert sorted(line.x[1] for line in lines) == pytest.approx(sorted(wanted))
    rows = len(panel.rows)
    assert rows == 3  # width, step size, bias: what was one value for all is left out
    assert len(others.x) + sum(len(line.x) for line in lines) == rows * len(evaluations)
    for line in lines:
        assert line.y.tolist() == [0, -1, -2]
    widths = trials["width"].to_numpy()
    span = np.log2(widths.max() / widths.min())
    places = np.concatenate([others.x[others.y == 0], [line.x[0] for line in lines]])
    assert (abs(places * span - np.round(places * span)) <= 0.25).all()
