"""What is not asked: design alone decides, faults stay verdicts, each line says what it needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from analysis.data.curves.quantities import Curve, curves
from analysis.data.curves.quantity import Quantity
from analysis.figures.study import study_plots
from analysis.report.page import write_report
from analysis.theory import Prediction, predictions
from analysis.verdicts.asking import lines, needed
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.judging import Word

BEST, UNSTOPPED = "best error against samples", "unstopped error against samples"


def predicted(name: str) -> Prediction:
    return next(p for p in predictions(2) if p.name == name)


def curve_of(table: pd.DataFrame, quantity: Quantity, axis: str = "samples") -> Curve:
    return next(c for c in curves(table) if (c.quantity, c.axis) == (quantity, axis))


def words(evaluation: Evaluation) -> dict[str, Word]:
    return {v.prediction: v.verdict for v in evaluation}


@pytest.mark.slow
def test_an_axis_that_hardly_varies_is_not_asked(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(samples=(64, 128, 256, 512), seeds=3))
    evaluation = evaluate(table)
    assert BEST not in words(evaluation)
    told = {row.prediction: row.needs for row in evaluation.not_asked}
    assert told[BEST] == (
        "5 values of N or more over a factor of 15.8 (from 64 to 1014), "
        "and has 4 over a factor of 8"
    )
    assert "coupling against width" in words(evaluation)  # five widths, and no concern of N
    row = next(row for row in evaluation.not_asked if row.prediction == BEST)
    assert row.verdict.verdict is Word.UNDETERMINED
    assert row.verdict.curve in evaluation.curves
    assert any("best_score_error_against_samples" in p.name for p in study_plots(evaluation)[0])


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_levels_lost_by_a_fault_stay_a_verdict(synthetic: ModuleType, status: str) -> None:
    """Five values of N are asked; two are lost, and too short a range is left."""
    table = synthetic.synthetic_table(synthetic.Grid(samples=(64, 128, 256, 512, 1024), seeds=3))
    lost = table["samples"].isin([64, 1024])
    table.loc[lost, "status"] = status
    evaluation = evaluate(table)
    assert words(evaluation)[BEST] is Word.UNDETERMINED
    assert BEST not in {row.prediction for row in evaluation.not_asked}
    verdict = next(v for v in evaluation if v.prediction == BEST)
    assert status in verdict.reason


def test_step_size_times_steps_is_a_time_of_descent_alone(synthetic: ModuleType) -> None:
    time = "best stopping time against samples"
    table = synthetic.synthetic_table(synthetic.Grid(seeds=2)).assign(
        largest_step_size=float("nan")
    )
    assert time in words(evaluate(table))
    for name in ("adam", "mine:Mine"):
        evaluation = evaluate(table.assign(trainer=name))
        assert time not in words(evaluation)
        assert BEST in words(evaluation)
        needs = {row.prediction: row.needs for row in evaluation.not_asked}
        assert needs[time].startswith("a trainer of gradient descent")


def test_losing_all_levels_looks_no_better_than_losing_some(synthetic: ModuleType) -> None:
    """Steps too few for the best one: the question was asked, and the study fell short of it."""
    table = synthetic.synthetic_table(synthetic.Grid(seeds=2, steps=8))
    assert curve_of(table, Quantity.BEST_ERROR).censored.all()
    evaluation = evaluate(table)
    assert words(evaluation)[BEST] is Word.UNDETERMINED
    verdict = next(v for v in evaluation if v.prediction == BEST)
    assert "train with more steps" in verdict.reason


def test_the_unstopped_error_is_asked_where_enough_levels_fit_their_noise(
    synthetic: ModuleType,
) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=2))
    fitted = table.assign(train_loss=0.003)
    row = predicted(UNSTOPPED)
    assert needed(row, curve_of(fitted, Quantity.FINAL_ERROR)) == ""
    partly = fitted.assign(train_loss=fitted["train_loss"].where(fitted["samples"] < 512, 0.3))
    said = needed(row, curve_of(partly, Quantity.FINAL_ERROR))
    assert "more than 1,000 steps of size 1 at N = 512, 1024, 2048, 4096" in said
    mostly = fitted.assign(train_loss=fitted["train_loss"].where(fitted["samples"] < 4096, 0.3))
    assert needed(row, curve_of(mostly, Quantity.FINAL_ERROR)) == ""
    assert words(evaluate(mostly))[UNSTOPPED] is not None


def test_what_diverged_was_tried(synthetic: ModuleType) -> None:
    """Values of the axis at which every trial diverged count as the design's."""
    table = synthetic.synthetic_table(synthetic.Grid(samples=(64, 128, 256, 512, 1024), seeds=2))
    curve = curve_of(table, Quantity.BEST_ERROR)
    part = curve.only(curve.x < 1024)
    assert needed(predicted(BEST), part)
    assert needed(predicted(BEST), replace(part, diverged=(1024.0,))) == ""


@pytest.mark.slow
@pytest.mark.usefixtures("fingerprints")
def test_lines_are_said_once_and_stand_on_the_page(synthetic: ModuleType, tmp_path: Path) -> None:
    grid = synthetic.Grid(
        laws=("gaussian_mixture", "atoms"), seeds=2, samples=(64, 128, 256), recorded=12
    )
    evaluation = evaluate(synthetic.synthetic_table(grid))
    rows = [row for row in evaluation.not_asked if row.prediction == BEST]
    assert len(rows) == 2
    assert len(lines(rows)) == 1
    other = [replace(rows[0], needs=f"{n} more") for n in range(2)]
    assert lines([*rows, *other]) == [f"{rows[0].told}, and the like on 2 other curves"]
    page = write_report(tmp_path, evaluation).read_text()
    assert "Not asked" in page
    assert page.count("best error against samples: needs 5 values") == 1
    asked = {v.to_dict()["prediction"] for v in evaluation}
    assert BEST not in asked
    json.dumps([v.to_dict() for v in evaluation], allow_nan=False)


def test_design_alone_moves_the_adjusted_level(synthetic: ModuleType) -> None:
    """Rows that are not asked count in no adjustment: the level is that of the verdicts alone."""
    table = synthetic.synthetic_table(synthetic.Grid(noise=0.05)).assign(train_loss=0.3)
    evaluation = evaluate(table)
    assert UNSTOPPED in {row.prediction for row in evaluation.not_asked}
    decided = [v for v in evaluation if v.adjusted_verdict != "undetermined"]
    for v in evaluation:
        assert v.adjusted_level == pytest.approx(1 - 0.05 * len(decided) / len(evaluation))
