"""Tuned against theory-guided: intervals that cover, curves and worth as planted, the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import tidy
from analysis.data.schema import SCHEMA, ResultsError, table_from
from analysis.figures.tuning import tuning_plots, tuning_rows
from analysis.report.page import write_report
from analysis.searches.best import chosen, described, load_importance, winners
from analysis.searches.tuning import (
    COLUMNS,
    FILE,
    budgets,
    comparisons,
    guided,
    incumbents,
    load_evaluations,
    median_interval,
    summary,
    worth,
)
from analysis.verdicts.evaluation import Evaluation
from trainers.trial import Trajectory, TrialConfig, recorded_steps

LAW = {"kind": "gaussian_mixture", "dimension": 2}
PLANTED = 0.05
"""Score error of every theory-guided trial at its best step."""


def config(**changes: Any) -> TrialConfig:
    values = {"law": LAW, "samples": 64, "width": 256, "step_size": 2.0, "steps": 200, **changes}
    return TrialConfig.model_validate(values)


def theory_trial(repetition: int) -> Trajectory:
    """Least score error PLANTED at eta tau about 60; held-out loss least there too."""
    c = config(seed=repetition)
    steps = recorded_steps(c.steps, c.recorded)
    error: list[float | None] = [PLANTED * (1 + np.log((2.0 * s + 0.1) / 60.0) ** 2) for s in steps]
    values = {
        "operations": c.training_operations, "noise_variance": 0.2, "noise_source": "exact",
    }  # fmt: skip
    series = {
        "score_error": error,
        "holdout_loss": [0.2 + (e or 0.0) for e in error],
        "train_loss": [0.25 - 0.0005 * s for s in steps],
        "kernel_complexity": [0.01 for _ in steps],
    }
    return Trajectory(c, steps, values=values, series=series)


def table(repetitions: int = 6, evaluations: int = 16, reach: int = 5) -> tuple[Any, Any]:
    """Evaluations of searches whose incumbent first is as good as theory's best after `reach`,
    and the results table with theory's trials."""
    rows: list[dict[str, Any]] = []
    trials = []
    for r in range(repetitions):
        c = config()
        at = {
            "law_id": c.law_id, "law_label": c.law.label, "dimension": 2, "samples": 64,
            "t_min": 0.05, "steps": 200, "repetition": r,
        }  # fmt: skip
        for n in range(evaluations):
            good = n + 1 >= reach
            error = (0.9 if good else 1.5) * PLANTED * (1 + 0.01 * r)
            rows.append(
                {
                    **at, "method": "tpe", "number": n, "trial_id": f"{r}-{n}",
                    "state": "COMPLETE", "value": 1.0 - 0.001 * n, "score_error": error,
                    "step": 10, "operations": 100.0,
                }
            )  # fmt: skip
        t = theory_trial(r)
        trials.append(t)
        rows.append(
            {
                **at, "method": "theory", "number": 0, "trial_id": t.config.trial_id,
                "state": "completed", "operations": 1.0, "pilot_operations": 7.0,
                "constant": 60 / 64**0.8,
            }
        )  # fmt: skip
        rows.append({**at, "method": "pilot", "number": 0, "trial_id": "p", "state": "completed"})
    frame = pd.DataFrame([{"message": "", **row} for row in rows], columns=list(COLUMNS))
    return frame.astype(COLUMNS), tidy(table_from(trials, "s").to_pandas())


@pytest.mark.slow
def test_the_interval_of_a_median_covers_it_at_its_level() -> None:
    rng = np.random.default_rng(1)
    for n in (5, 6, 9, 20):
        draws = rng.exponential(size=(4000, n))
        found = [median_interval(x) for x in draws]
        inside = np.mean([m.low <= np.log(2) <= m.high for m in found])
        level = found[0].level
        assert abs(inside - level) < 4 * np.sqrt(level * (1 - level) / 4000)
        assert level >= 0.95 or n == 5
    assert median_interval(np.arange(5.0)).level == pytest.approx(1 - 2 / 32)
    assert median_interval(np.arange(20.0)).low > 0  # narrower than the whole range
    one = median_interval(np.array([3.0, np.nan]))
    assert (one.value, one.count) == (3.0, 1)
    assert np.isnan(one.low)
    assert np.isnan(median_interval(np.array([np.nan])).value)


def test_values_beyond_the_budget_are_larger_than_all_others() -> None:
    found = median_interval(np.array([1.0, 2.0, np.inf, np.inf, np.inf]))
    assert np.isinf(found.value)
    assert found.low == 1.0
    assert np.isinf(found.high)
    assert median_interval(np.array([1.0, 2.0, 3.0, np.inf])).value == 2.5
    half = median_interval(np.array([1.0, 2.0, np.inf, np.inf]))
    assert np.isinf(half.value)
    assert half.low == 1.0


def test_the_incumbent_is_the_best_by_held_out_loss_not_by_the_truth() -> None:
    frame, _ = table(1, 4)
    searched = frame["method"] == "tpe"
    frame.loc[searched, "value"] = [0.5, 0.3, np.nan, 0.4]
    frame.loc[searched, "score_error"] = [0.1, 0.9, np.nan, 0.01]
    frame.loc[searched, "operations"] = [1.0, 2.0, np.nan, 4.0]
    found = incumbents(frame.sample(frac=1, random_state=0))
    assert found["evaluations"].tolist() == [1, 2, 3, 4]
    assert found["score_error"].tolist() == [0.1, 0.9, 0.9, 0.9]
    assert found["operations"].tolist() == [1.0, 3.0, 3.0, 7.0]
    frame.loc[searched, "value"] = np.nan
    assert incumbents(frame)["score_error"].isna().all()


def test_each_rule_stops_the_guided_trial_and_pays_for_what_it_looked_at() -> None:
    evaluations, frame = table(2)
    found = guided(evaluations, frame).set_index(["repetition", "rule"])
    whole = config().training_operations
    for r in (0, 1):
        oracle, a_priori = found.loc[(r, "oracle")], found.loc[(r, "a_priori")]
        assert oracle["score_error"] == pytest.approx(PLANTED, rel=0.02)
        assert oracle["operations"] == found.loc[(r, "holdout"), "operations"] == whole
        assert a_priori["step"] == pytest.approx(30, rel=0.2)
        assert a_priori["operations"] == pytest.approx(whole * a_priori["step"] / 200)
        assert found.loc[(r, "discrepancy"), "step"] > 0
        assert (found.loc[r, "pilot_operations"] == 7.0).all()


@pytest.mark.parametrize("reach", [1, 5, 16, 99])
def test_theory_is_worth_the_planted_number_of_evaluations(reach: int) -> None:
    evaluations, frame = table(6, 16, reach)
    (one,) = comparisons(evaluations, frame)
    oracle = one.stopped[one.stopped["rule"] == "oracle"]
    each = worth(one.found, oracle)["evaluations"]
    assert (each == (reach if reach <= 16 else np.inf)).all()
    row = summary(one).set_index("method").loc["oracle"]
    assert row["worth"] == row["worth_low"] == (reach if reach <= 16 else np.inf)
    cells = {who: words for who, *_, words in tuning_rows(one)["rows"]}
    expected = f"{reach} of tpe" if reach <= 16 else "more than 16 of tpe"
    assert cells["theory, oracle"].startswith(expected)


def test_repetitions_without_a_choice_of_theory_measure_nothing_of_it() -> None:
    """The third one, on data of its own, had searches of a third of the error."""
    evaluations, frame = table(3)
    last = evaluations["repetition"] == 2
    lucky = last & (evaluations["method"] == "tpe")
    evaluations.loc[lucky, "score_error"] /= 3
    gone = evaluations[~(last & (evaluations["method"] == "theory"))]
    (one,), (without,) = comparisons(gone, frame), comparisons(evaluations[~last], frame)
    assert summary(one).equals(summary(without))
    assert tuning_rows(one)["over"] == (
        "Over 2 repetitions (in 1 more theory made no choice: left out here)"
    )
    assert tuning_rows(without)["over"] == "Over 2 repetitions"
    searched = gone[gone["method"] == "tpe"]
    (alone,) = comparisons(searched, frame)  # no theory: every repetition counts
    assert alone.found["repetition"].nunique() == 3


def test_points_are_kept_apart() -> None:
    small, frame = table(2)
    other = small.assign(samples=128)
    both = comparisons(pd.concat([small, other], ignore_index=True), frame)
    assert [one.samples for one in both] == [64, 128]
    assert all(len(one.found) == 2 * 16 for one in both)


def test_budgets_are_powers_of_two_and_the_end() -> None:
    assert budgets(64) == [1, 2, 4, 8, 16, 32, 64]
    assert budgets(20) == [1, 2, 4, 8, 16, 20]
    assert budgets(1) == [1]


def test_where_no_f_is_known_held_out_losses_are_compared() -> None:
    evaluations, frame = table(4)
    blind = evaluations.assign(score_error=np.nan), frame.assign(score_error=np.nan)
    (one,) = comparisons(*blind)
    assert one.measure == "held-out loss"
    told = summary(one).set_index("method")
    assert "oracle" not in {row[0].removeprefix("theory, ") for row in tuning_rows(one)["rows"]}
    stopped = one.stopped[one.stopped["rule"] == "a_priori"]
    assert told.loc["a_priori", "error"] == stopped["holdout_loss"].median()
    searched = told[told["evaluations"] == 4]
    values = one.found[one.found["evaluations"] == 4]
    assert searched["error"].tolist() == values.groupby("method")["value"].median().tolist()
    assert told.loc["a_priori", "worth"] > 0
    labels = {panel.y_label for plot in tuning_plots(*blind)[:1] for panel in plot.panels}
    assert labels == {"held-out loss"}


def test_a_search_of_before_has_no_importance_and_its_best_all_the_same(tmp_path: Path) -> None:
    evaluations, frame = table(2)
    assert load_importance(str(tmp_path)).empty
    choices = chosen(
        evaluations, frame
    )  # the searches' trials are not in the results: theory's are
    assert choices["method"].tolist() == ["theory", "theory"]
    recorded = recorded_steps(200, config().recorded)
    nearest = min(recorded, key=lambda step: abs(np.log(step / 30)) if step else np.inf)
    assert choices["step"].tolist() == [nearest, nearest]  # eta tau = 60, eta = 2
    assert winners(choices).empty
    assert len(winners(choices, "theory")) == 1
    # A table has no f*: theory's choice is one all the same.
    unknown = chosen(evaluations, frame.assign(score_error=np.nan))
    assert unknown["step"].tolist() == choices["step"].tolist()
    assert unknown["loss"].notna().all()
    (tmp_path / "search.json").write_text(described(importance=load_importance(str(tmp_path))))
    assert load_importance(str(tmp_path)).empty
    # Of an earlier version, a search at a time.
    (tmp_path / "search.json").write_text(
        '{"importance": [{"method": "tpe", "repetition": 0, "hyperparameter": "bias", '
        '"importance": 1.0}]}'
    )
    assert load_importance(str(tmp_path)).empty
    for text in ("{", "[]", "{}"):
        (tmp_path / "search.json").write_text(text)
        with pytest.raises(ResultsError, match="not what a search writes: remove it"):
            load_importance(str(tmp_path))


@pytest.mark.usefixtures("fingerprints")
def test_the_page_shows_the_comparison_and_judges_no_rate(tmp_path: Path) -> None:
    evaluations, frame = table()
    page = write_report(
        tmp_path, Evaluation.unjudged(frame), "name: x", tuning=evaluations
    ).read_text()
    assert "Tuned against theory-guided" in page
    assert "scorerates search study.yaml" in page
    assert "theory, a priori" in page
    assert "A search chooses trials by their results" in page
    plot, so_far = tuning_plots(evaluations, frame)
    assert so_far.name == f"{plot.name}_so_far"
    assert (tmp_path / f"figures/{plot.name}.svg").exists()
    drawn = plot.table
    line = drawn[(drawn["series"] == "search: tpe") & (drawn["panel"] == "against evaluations")]
    assert line["x"].tolist() == [1, 2, 4, 8, 16]
    assert line["y"].tolist() == sorted(line["y"], reverse=True)
    without = evaluations[evaluations["method"] == "tpe"]
    alone = write_report(
        tmp_path, Evaluation.unjudged(frame), "name: x", tuning=without
    ).read_text()
    assert "theory, a priori" not in alone


def test_the_table_of_evaluations_comes_back_from_its_file(tmp_path: Path) -> None:
    assert load_evaluations(str(tmp_path)) is None
    evaluations, _ = table(2)
    evaluations.to_parquet(tmp_path / FILE)
    pd.testing.assert_frame_equal(load_evaluations(str(tmp_path)), evaluations)
    SCHEMA.empty_table().to_pandas().to_parquet(tmp_path / FILE)
    with pytest.raises(ResultsError, match="not a table of evaluations"):
        load_evaluations(str(tmp_path))


def test_without_fstar_nothing_is_compared_by_score_error() -> None:
    evaluations, frame = table(2)
    blind = evaluations.assign(score_error=np.nan)
    assert [one.known for one in comparisons(evaluations, frame)] == [True]
    assert [one.known for one in comparisons(blind, frame)] == [False]
    for rows, said in ((evaluations, True), (blind, False)):
        captions = [plot.caption.lower() for plot in tuning_plots(rows, frame)]
        assert any("score error" in caption for caption in captions) is said
