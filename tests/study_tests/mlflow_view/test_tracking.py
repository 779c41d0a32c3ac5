"""The MLflow view: nested, idempotent, exact, and rebuilt from the store after any accident."""

import math
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from scipy import stats
from tracked import (
    assert_logged_columns_equal,
    config,
    diverged,
    frame_of,
    opened,
    runs,
    trajectory,
)

from analysis.data.curves.quantities import curves
from analysis.data.mlflow_view import (
    LOGGED_ONCE,
    LOGGED_SERIES,
    SERIES,
    TAG_KIND,
    TAG_POINT,
    TAG_STATUS,
    TAG_TRIAL,
    VALUES,
    logged_value,
    series_as_tags,
    trial_values,
)
from analysis.data.results import load_results
from analysis.data.schema import ResultsError
from analysis.verdicts.evaluation import Evaluation
from study.mlflow_view import contents, tracking
from study.mlflow_view.tracking import PARENT, TrackingError, check_database
from trainers.columns import TRIAL_COLUMNS
from trainers.trial import Trajectory, TrialStatus, failed, recorded_steps

pytestmark = pytest.mark.services


def test_runs_are_nested_named_and_described(uri: str) -> None:
    opened(uri).log_trials(frame_of(trajectory(1), diverged(2), failed(config(3), "no luck")))
    (parent,) = runs(uri, "study")
    assert "name: test" in parent.data.tags["mlflow.note.content"]
    by_status = {r.data.tags[TAG_STATUS]: r for r in runs(uri)}
    assert set(by_status) == {"completed", "diverged", "failed"}
    (point,) = runs(uri, "point")
    assert point.data.tags[PARENT] == parent.info.run_id
    for run in by_status.values():
        assert run.data.tags[PARENT] == point.info.run_id
    good = by_status["completed"]
    assert good.info.run_name == "s1 GM"
    assert good.info.status == "FINISHED"
    assert good.data.metrics["samples"] == 64
    assert good.data.metrics["best_score_error"] == 1e-17
    assert good.data.metrics["best_step"] == 3
    assert "coupling" not in good.data.metrics
    assert by_status["diverged"].info.status == "FINISHED"
    assert by_status["failed"].info.status == "FAILED"
    assert trial_values(by_status["diverged"].data.tags)["diverged_step"] == 4
    assert trial_values(by_status["failed"].data.tags)["message"] == "no luck"


def test_parameters_are_what_was_chosen_and_ids_are_tags(uri: str) -> None:
    opened(uri).log_trials(frame_of(trajectory(1)))
    (run,) = runs(uri)
    params = run.data.params
    assert params["samples"] == "64"
    assert params["width"] == "8"
    assert params["step_size"] == "0.3"
    assert params["law"] == "gaussian_mixture"
    assert params["law.components"] == "8"
    assert params["seed"] == "1"
    assert not [name for name in params if "id" in name.split("_") or "recorded" in name]
    measured = {c.name for c in TRIAL_COLUMNS}
    assert measured.isdisjoint(params)
    assert run.data.tags[TAG_POINT] == config(1).point_id


def test_table_from_metrics_equals_the_stores(uri: str) -> None:
    frame = frame_of(trajectory(1), trajectory(2, 4096), diverged(3), failed(config(4), "why"))
    tracker = opened(uri)
    tracker.log_trials(frame)
    read = load_results(uri, "test", from_metrics=True)
    assert_logged_columns_equal(frame, read)
    assert read["bias"].isna().all()


def test_table_from_the_artifact_is_whole(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "a.svg").write_text("<svg/>")
    (folder / "report.html").write_text("<html/>")
    frame = frame_of(trajectory(1))
    frame.to_parquet(folder / "results.parquet")
    tracker = opened(uri)
    tracker.log_trials(frame)
    tracker.log_study(folder, Evaluation.unjudged(frame))
    tracker.close("FINISHED")
    pd.testing.assert_frame_equal(load_results(uri, "test"), frame)
    pd.testing.assert_frame_equal(load_results(uri), frame)
    assert_logged_columns_equal(frame, load_results(uri, from_metrics=True))
    (parent,) = runs(uri, "study")
    client = MlflowClient(tracking_uri=uri)
    assert {a.path for a in client.list_artifacts(parent.info.run_id)} >= {"report.html", "figures"}
    assert (tmp_path / "mlartifacts").is_dir()


def test_logging_twice_logs_once(uri: str) -> None:
    frame = frame_of(trajectory(1), trajectory(2))
    for _ in range(2):
        tracker = opened(uri)
        tracker.log_trials(frame)
        tracker.log_trials(frame)
        tracker.close("FINISHED")
    assert len(runs(uri)) == 2
    assert len(runs(uri, "study")) == 1
    assert opened(uri).logged == {config(1).trial_id, config(2).trial_id}


def test_a_half_written_run_is_replaced(uri: str) -> None:
    tracker = opened(uri)
    tracker.log_trials(frame_of(trajectory(1)))
    client = MlflowClient(tracking_uri=uri)
    (whole,) = runs(uri)
    half = client.create_run(
        whole.info.experiment_id, tags={TAG_KIND: "trial", TAG_TRIAL: config(2).trial_id}
    )
    client.log_metric(half.info.run_id, "score_error", 5.0, step=0)
    tracker = opened(uri)
    assert tracker.logged == {config(1).trial_id}
    frame = frame_of(trajectory(1), trajectory(2))
    tracker.log_trials(frame)
    assert half.info.run_id not in {r.info.run_id for r in runs(uri)}
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))


def test_a_failed_trial_that_succeeds_later_replaces_its_run(uri: str) -> None:
    tracker = opened(uri)
    tracker.log_trials(frame_of(failed(config(1), "out of memory")))
    tracker.log_trials(frame_of(failed(config(1), "out of memory")))
    assert [r.info.status for r in runs(uri)] == ["FAILED"]
    tracker = opened(uri)
    assert tracker.logged == set()
    tracker.log_trials(frame_of(trajectory(1)))
    assert [r.info.status for r in runs(uri)] == ["FINISHED"]


def test_two_studies_share_a_database_and_not_their_runs(uri: str) -> None:
    opened(uri, "one").log_trials(frame_of(trajectory(1)))
    opened(uri, "two").log_trials(frame_of(trajectory(1), trajectory(2)))
    assert len(runs(uri, study="one")) == 1
    assert load_results(uri, "two", from_metrics=True)["trial_id"].nunique() == 2
    with pytest.raises(ResultsError, match="one, two"):
        load_results(uri, "three")
    with pytest.raises(ResultsError, match="one, two"):
        load_results(uri)


def test_a_deleted_experiment_comes_back(uri: str) -> None:
    opened(uri).log_trials(frame_of(trajectory(1)))
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment(client.get_experiment_by_name("test").experiment_id)
    tracker = opened(uri)
    tracker.log_trials(frame_of(trajectory(1)))
    assert len(runs(uri)) == 1


def test_no_server_is_one_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with pytest.raises(TrackingError, match="scorerates sync"):
        opened(f"http://127.0.0.1:{port}")


def test_environment_is_left_as_it_was(uri: str) -> None:
    before = dict(os.environ)
    opened(uri).log_trials(frame_of(trajectory(1)))
    assert dict(os.environ) == before


def test_a_run_that_a_lost_answer_left_open_goes(uri: str) -> None:
    tracker = opened(uri)
    tracker.log_trials(frame_of(trajectory(1)))
    (whole,) = runs(uri)
    tags = {TAG_KIND: "trial", TAG_TRIAL: config(1).trial_id}
    MlflowClient(tracking_uri=uri).create_run(whole.info.experiment_id, tags=tags)
    tracker.close("FINISHED")
    assert [r.info.run_id for r in runs(uri)] == [whole.info.run_id]


def test_only_finite_numbers_are_logged(uri: str) -> None:
    opened(uri).log_trials(frame_of(trajectory(1)))
    client = MlflowClient(tracking_uri=uri)
    (run,) = runs(uri)
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [m.step for m in history] == [0, 1, 3]
    assert all(math.isfinite(m.value) for m in history)


def test_a_chart_has_some_steps_and_the_tags_have_all(uri: str) -> None:
    steps = recorded_steps(600, 40)
    rng = np.random.default_rng(0)
    series: dict[str, list[float | None]] = {
        name: rng.random(len(steps)).tolist() for name in LOGGED_SERIES
    }
    frame = frame_of(Trajectory(config(1), steps, series=series))
    opened(uri).log_trials(frame)
    client = MlflowClient(tracking_uri=uri)
    (run,) = runs(uri)
    history = client.get_metric_history(run.info.run_id, "score_error")
    assert len(history) == contents.CHARTED_STEPS
    assert (history[0].step, history[-1].step) == (0, 600)
    for m in history:
        assert m.value == series["score_error"][steps.index(m.step)]
    (last,) = client.get_metric_history(run.info.run_id, "displacement")
    assert (last.step, last.value) == (600, series["displacement"][-1])
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))


def test_a_kernel_limit_has_few_metrics_and_all_of_its_series(uri: str) -> None:
    """Whatever a table holds besides; the tags have every series, as of any trial."""
    steps = recorded_steps(600, 40)
    series: dict[str, list[float | None]] = {name: [1.0] * len(steps) for name in LOGGED_SERIES}
    limit = config(1).changed(width=math.inf)
    frame = frame_of(Trajectory(limit, steps, series=series))
    opened(uri).log_trials(frame)
    (run,) = runs(uri)
    assert set(run.data.metrics) & set(LOGGED_SERIES) == set(contents.OF_THE_LIMIT)
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))


def test_a_run_that_somebody_changed_is_refused_and_logged_anew(uri: str) -> None:
    frame = frame_of(trajectory(1), trajectory(2))
    tracker = opened(uri)
    tracker.log_trials(frame)
    client, run = MlflowClient(tracking_uri=uri), runs(uri)[0]
    for name in (SERIES, VALUES):
        client.delete_tag(run.info.run_id, name)
    with pytest.raises(ResultsError, match="scorerates sync"):
        load_results(uri, "test", from_metrics=True)
    tracker = opened(uri)
    assert len(tracker.logged) == 1
    tracker.log_trials(frame)
    assert len(runs(uri)) == 2
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))


def test_clearing_away_half_written_runs_loses_no_finished_one_from_sight(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PAGE", 2)
    tracker = opened(uri)
    tracker.log_trials(frame_of(*(trajectory(i) for i in range(5))))
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("test").experiment_id
    for i in (90, 91):  # the newest runs: on the first page
        tags = {TAG_KIND: "trial", TAG_TRIAL: config(i).trial_id}
        client.create_run(experiment, int(time.time() * 1000) + 1000, tags)
    assert opened(uri).logged == {config(i).trial_id for i in range(5)}
    assert len(runs(uri)) == 5


def test_long_trajectories_and_messages_fit(uri: str) -> None:
    steps = list(range(10_000, 12_000))
    series: dict[str, list[float | None]] = {"score_error": [1 / (s + 1) for s in steps]}
    long = Trajectory(config(1), steps, series=series)
    bad = Trajectory(config(2), [0], TrialStatus.FAILED, "why " * 5000)
    frame = frame_of(long, bad)
    opened(uri).log_trials(frame)
    read = load_results(uri, "test", from_metrics=True)
    for name in ("step", "score_error"):
        pd.testing.assert_series_equal(frame[name], read[name], check_exact=True)
    assert read["message"].dropna().tolist() == [("why " * 5000)[:6000]]


class Judged:
    """A verdict on the score error against samples, at one width."""

    def __init__(self, width: int, exponent: float) -> None:
        self.width, self.exponent = width, exponent

    def to_dict(self) -> dict[str, Any]:
        return {
            "prediction": "best error against samples",
            "quantity": "best_score_error",
            "axis": "samples",
            "law": "cube",
            "dimension": 2,
            "fixed": {"width": self.width, "effective_time": 10.0 / self.width},
            "exponent": self.exponent,
            "ci_low": 0.5,
            "ci_high": None,
            "theory_exponent": 0.4,
            "verdict": "faster",
            "reason": f"b = {self.exponent}",
        }


def test_verdicts_on_like_curves_do_not_overwrite_each_other(uri: str, tmp_path: Path) -> None:
    tracker = opened(uri)
    nothing = Evaluation.unjudged(frame_of(trajectory(1)))
    tracker.log_study(tmp_path, replace(nothing, verdicts=[Judged(64, 0.6)]))
    tracker.log_study(tmp_path, replace(nothing, verdicts=[Judged(64, 0.6), Judged(128, 0.7)]))
    (parent,) = runs(uri, "study")
    name = "best_score_error by samples/cube-d2 width"
    told = {k: v for k, v in parent.data.tags.items() if k.startswith("verdict/")}
    assert told == {
        f"verdict/{name} 64": "faster: b = 0.6",
        f"verdict/{name} 128": "faster: b = 0.7",
    }
    assert parent.data.metrics[f"rate/{name} 64/exponent"] == 0.6
    assert parent.data.metrics[f"rate/{name} 128/exponent"] == 0.7
    assert parent.data.metrics[f"rate/{name} 128/theory"] == 0.4


def test_two_drivers_may_create_one_database(tmp_path: Path) -> None:
    place = tmp_path / "new" / "mlflow.db"
    code = (
        "import sys; from study.mlflow_view.tracking import Tracker; Tracker(*sys.argv[1:]).open()"
    )
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", code, study, f"sqlite:///{place}"], stderr=subprocess.PIPE
        )
        for study in ("one", "two")
    ]
    for driver in drivers:
        _, error = driver.communicate(timeout=120)
        assert driver.returncode == 0, error.decode()
    assert {len(runs(f"sqlite:///{place}", "study", name)) for name in ("one", "two")} == {1}


def test_a_password_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = "http://me:secret@127.0.0.1:9"
    with pytest.raises(TrackingError, match=r"http://me:\*\*\*@") as told:
        opened(address)
    assert "secret" not in str(told.value)
    with pytest.raises(ResultsError, match=r"http://me:\*\*\*@") as refused:
        load_results(address, "test")
    assert "secret" not in str(refused.value)


def parents_of_trials(client: MlflowClient) -> set[str]:
    experiment = client.get_experiment_by_name("test").experiment_id
    runs = client.search_runs([experiment], f"tags.`{TAG_KIND}` = 'trial'")
    assert len(runs) == 2
    return {run.data.tags[PARENT] for run in runs}


def study_runs(client: MlflowClient) -> list[str]:
    experiment = client.get_experiment_by_name("test").experiment_id
    return [r.info.run_id for r in client.search_runs([experiment], f"tags.`{TAG_KIND}` = 'study'")]


@pytest.mark.parametrize("for_good", [False, True])
def test_a_study_run_that_somebody_deleted_comes_back_over_its_trials(
    tmp_path: Path, for_good: bool
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    opened(uri).log_trials(frame_of(trajectory(0), trajectory(1)))
    client = MlflowClient(uri)
    (parent,) = study_runs(client)
    client.delete_run(parent)
    if for_good:
        client._tracking_client.store._hard_delete_run(parent)
    assert study_runs(client) == []
    tracker = opened(uri)
    assert len(tracker.logged) == 2
    (found,) = study_runs(client)
    assert (found != parent) is for_good
    (point,) = runs(uri, "point")
    assert parents_of_trials(client) == {point.info.run_id}
    assert point.data.tags[PARENT] == found


def test_a_point_that_somebody_deleted_comes_back_over_its_trials(uri: str) -> None:
    opened(uri).log_trials(frame_of(trajectory(0), trajectory(1)))
    client = MlflowClient(uri)
    client.delete_run(runs(uri, "point")[0].info.run_id)
    opened(uri)
    (point,) = runs(uri, "point")
    assert parents_of_trials(client) == {point.info.run_id}
    assert point.data.params["samples"] == "64"
    assert "seed" not in point.data.params


def test_artifacts_follow_a_database_that_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "before", tmp_path / "after [2]"
    old.mkdir()

    def log(folder: Path, text: str) -> MlflowClient:
        (tmp_path / "report.html").write_text(text)
        tracker = opened(f"sqlite:///{folder / 'mlflow.db'}")
        tracker.log_trials(frame_of(trajectory(0), trajectory(1)))
        tracker.log_study(tmp_path, Evaluation.unjudged(frame_of(trajectory(0), trajectory(1))))
        return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")

    (run,) = study_runs(log(old, "first"))
    _artifact_repos_cache.clear()  # mlflow's own, of this process: the move ends it
    old.rename(new)
    client = log(new, "second")
    assert study_runs(client) == [run]
    assert not old.exists()
    assert Path(client.download_artifacts(run, "report.html")).read_text() == "second"
    assert [p.read_text() for p in new.glob("mlartifacts/**/report.html")] == ["second"]


def test_names_from_a_table_of_somebody_else_are_within_the_alphabet(tmp_path: Path) -> None:
    frame = frame_of(trajectory(0), trajectory(1))
    frame["law"] = frame["law_label"] = "../\N{SNOWMAN}=[/b]<i>"
    tracker = opened(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker.log_trials(frame)
    tracker.log_study(tmp_path, Evaluation.unjudged(frame))


def test_an_experiment_opens_on_runs_and_charts(uri: str) -> None:
    opened(uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("test")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    client.set_experiment_tag(experiment.experiment_id, "mlflow.experimentKind", "regression")
    opened(uri)
    kept = client.get_experiment_by_name("test").tags["mlflow.experimentKind"]
    assert kept == "regression", "what the user chose stays"


def noisy(seed: int, samples: int) -> Trajectory:
    """The least error is (1 + seed) 8 / N, at step 4: the middle of a parabola in log-log."""
    least = (1.0 + seed) * 8 / samples
    errors: list[float | None] = [9 * least, least, 9 * least]
    return Trajectory(config(seed, samples), [2, 4, 8], series={"score_error": errors})


def test_a_point_has_the_mean_over_its_seeds_and_a_curve_the_means(
    uri: str, tmp_path: Path
) -> None:
    counts = (64, 128, 256)
    frame = frame_of(*(noisy(s, n) for n in counts for s in range(3)), diverged(3))
    tracker = opened(uri)
    tracker.log_trials(frame)
    evaluation = Evaluation.unjudged(frame)
    table = replace(evaluation, curves=curves(frame))
    for _ in range(2):  # the second time nothing is new
        tracker.log_study(tmp_path, table)
    tracker.close("FINISHED")
    points = {r.data.params["samples"]: r for r in runs(uri, "point")}
    assert set(points) == {"64", "128", "256"}
    of = points["64"].data.metrics
    # By hand: errors 1/8, 2/8, 3/8; jackknife of the log of their mean, two degrees of freedom.
    y = np.array([1, 2, 3]) / 8
    without = np.log([(y.sum() - v) / 2 for v in y])
    pseudo = 3 * np.log(y.mean()) - 2 * without
    half = stats.t.ppf(0.975, 2) * pseudo.std(ddof=1) / math.sqrt(3)
    assert of["point/best_score_error"] == pytest.approx(0.25)
    assert of["point/best_score_error_low"] == pytest.approx(math.exp(pseudo.mean() - half))
    assert of["point/best_score_error_high"] == pytest.approx(math.exp(pseudo.mean() + half))
    assert of["point/best_score_error_log2"] == pytest.approx(-2)
    assert of["point/best_time"] == pytest.approx(0.3 * 4)
    assert (of["x/samples"], of["x/log2_samples"]) == (64, 6)
    assert (of["point/seeds"], of["point/not_completed"]) == (3, 1)
    client = MlflowClient(uri)
    (curve,) = runs(uri, "curve")
    assert curve.info.run_name == "by N GM m8 d2"
    history = client.get_metric_history(
        curve.info.run_id, "curve/log2 best_score_error by log2 samples"
    )
    assert sorted((m.step, round(m.value, 9)) for m in history) == [(6, -2), (7, -3), (8, -4)]
    assert len(client.get_metric_history(points["64"].info.run_id, "point/seeds")) == 1
    # The metrics of different kinds of runs have different names.
    kinds = [
        {name for run in runs(uri, kind) for name in run.data.metrics}
        for kind in ("study", "curve", "point", "trial")
    ]
    assert sum(map(len, kinds)) == len(set.union(*kinds))
    # Another seed changes the curve, which is written anew and not beside itself.
    more = pd.concat([frame, frame_of(noisy(4, 64))], ignore_index=True)
    tracker.log_trials(more)
    tracker.log_study(tmp_path, replace(Evaluation.unjudged(more), curves=curves(more)))
    (later,) = runs(uri, "curve")
    assert later.info.run_id != curve.info.run_id
    points = {r.data.params["samples"]: r for r in runs(uri, "point")}
    assert points["64"].data.metrics["point/seeds"] == 4


def test_the_machine_is_told_on_the_studys_run(uri: str) -> None:
    tracker = opened(uri)
    for _ in range(3):
        tracker.log_system()
    (parent,) = runs(uri, "study")
    assert 0 <= parent.data.metrics["system/cpu_utilization_percentage"] <= 100
    client = MlflowClient(uri)
    history = client.get_metric_history(parent.info.run_id, "system/system_memory_usage_percentage")
    assert [m.step for m in history] == [0, 1]
    again = opened(uri)
    for _ in range(2):
        again.log_system()
    (parent,) = runs(uri, "study")
    assert max(m.step for m in parent.data._metric_objs) == 2, "it goes on where it was"


# --- views of an earlier version ------------------------------------------------------------------


def logged_by_the_first_version(uri: str, frame: pd.DataFrame) -> tuple[str, dict[str, str]]:
    """A study as the first version logged it: all of a trial's columns are parameters. Ids of the
    study's run, and of the trials' runs by trial."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("test")
    study = client.create_run(
        experiment,
        tags={TAG_KIND: "study", "team": "blue", "verdict a": "b"},
        run_name="study test",
    ).info.run_id
    client.log_metric(study, "exponent best_score_error by samples", 0.5)
    client.set_terminated(study)
    found = {}
    for trial_id, rows in frame.groupby("trial_id", sort=False):
        first = rows.iloc[0]
        series = {
            name: rows[name].to_numpy(float, na_value=math.nan).tolist()
            for name in LOGGED_SERIES
            if rows[name].notna().any()
        }
        tags = {TAG_KIND: "trial", TAG_TRIAL: str(trial_id), PARENT: study, "mine": "look here"}
        run = client.create_run(experiment, tags={**tags, **series_as_tags(series)})
        for name in LOGGED_ONCE:
            if pd.notna(first[name]):
                client.log_param(run.info.run_id, name, logged_value(first[name]))
        steps = "[" + ",".join(str(int(s)) for s in rows["step"]) + "]"
        client.log_param(run.info.run_id, "recorded_steps", steps)
        client.set_terminated(run.info.run_id)
        found[str(trial_id)] = run.info.run_id
    return study, found


def test_a_view_of_the_first_version_is_read_and_replaced_without_loss(
    uri: str, tmp_path: Path
) -> None:
    frame = frame_of(trajectory(1), trajectory(2))
    study, old = logged_by_the_first_version(uri, frame)
    kept = config(2).trial_id
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))
    tracker = opened(uri)
    assert tracker.logged == set()
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))
    only = frame[frame["trial_id"] == config(1).trial_id]
    tracker.log_trials(only)
    # One is replaced, the other still as it was: the whole table is there at every moment.
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))
    tracker.log_study(tmp_path, Evaluation.unjudged(only))
    tracker.close("FINISHED")
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))
    (parent,) = runs(uri, "study")
    assert parent.info.run_id != study
    assert parent.data.tags["team"] == "blue"
    assert "verdict a" not in parent.data.tags
    assert not parent.data.metrics
    by_trial = {r.data.tags[TAG_TRIAL]: r for r in runs(uri)}
    assert len(by_trial) == len(runs(uri)) == 2
    assert by_trial[config(1).trial_id].info.run_id != old[config(1).trial_id]
    assert by_trial[kept].info.run_id == old[kept], "the study has it no more: it stays"
    assert by_trial[kept].data.tags[PARENT] == parent.info.run_id
    assert {r.data.tags["mine"] for r in by_trial.values()} == {"look here"}
    client = MlflowClient(uri)
    for run_id in (study, old[config(1).trial_id]):  # MLflow can bring them back
        assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    again = opened(uri)
    assert again.logged == {config(1).trial_id}
    again.log_trials(frame)
    assert len(runs(uri)) == 2
    assert old[kept] not in {r.info.run_id for r in runs(uri)}


def test_a_driver_killed_between_two_views_leaves_no_trial_twice(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = frame_of(trajectory(1))
    logged_by_the_first_version(uri, frame)
    tracker = opened(uri)
    with monkeypatch.context() as dying:
        dying.setattr(tracker, "_delete_earlier", lambda trial_id: None)
        tracker.log_trials(frame)
    assert len(runs(uri)) == 2
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))
    assert opened(uri).logged == {config(1).trial_id}
    assert len(runs(uri)) == 1


@pytest.mark.parametrize(
    ("version", "remedy"),
    [("0c779009ac13", "mlflow db upgrade sqlite:"), ("0123456789ab", "pip install --upgrade")],
)
def test_tables_of_another_mlflow_say_what_to_do(uri: str, version: str, remedy: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    with pytest.raises(TrackingError, match=remedy):
        opened(uri)
    with pytest.raises(TrackingError, match=remedy) as told:
        check_database(uri)
    assert "\n" not in str(told.value)
    assert "writable" not in str(told.value)
    with pytest.raises(ResultsError, match=remedy):
        load_results(uri, "test")


def test_a_searchs_run_has_the_best_so_far_and_what_won(uri: str, tmp_path: Path) -> None:
    frame = frame_of(*(trajectory(seed) for seed in range(4)))
    ids = [config(seed).trial_id for seed in range(4)]

    def evaluated(count: int) -> None:
        """The table after `count` evaluations of one sampler: losses 3, 4, 1, 2."""
        first = frame.iloc[0]
        rows = [
            {
                "law_id": first["law_id"], "law_label": first["law_label"], "dimension": 2,
                "samples": 64, "t_min": 0.1, "steps": 10, "method": "tpe", "repetition": 0,
                "number": n, "trial_id": ids[n], "state": "COMPLETE",
                "value": [3.0, 4.0, 1.0, 2.0][n], "score_error": 0.1 * n, "step": 3.0,
                "operations": 1.0, "pilot_operations": math.nan, "constant": math.nan,
                "message": "",
            }
            for n in range(count)
        ]  # fmt: skip
        pd.DataFrame(rows).to_parquet(tmp_path / "evaluations.parquet")
        tracker = tracking.Tracker("test", uri, search=True)
        tracker.open()
        tracker.log_trials(frame)
        tracker.log_study(tmp_path, Evaluation.unjudged(frame))

    def history(name: str) -> list[tuple[int, float]]:
        (parent,) = runs(uri, "study")
        found = MlflowClient(uri).get_metric_history(parent.info.run_id, f"best/{name}")
        return [(m.step, m.value) for m in found]

    evaluated(2)
    assert history("tpe N64/GM-d2/holdout_loss") == [(1, 3.0), (2, 3.0)]
    evaluated(4)
    evaluated(4)
    assert history("tpe N64/GM-d2/holdout_loss") == [(1, 3.0), (2, 3.0), (3, 1.0), (4, 1.0)]
    assert history("tpe N64/GM-d2/width")[-1] == (4, 8)
    assert history("tpe N64/GM-d2/step_size")[-1] == (4, 0.3)
    (parent,) = runs(uri, "study")
    won = parent.data.tags["best/tpe N64/GM-d2"]
    assert won.startswith("width 8, step_size 0.3, initialisation symmetric")
    assert "seed 2, stopped at step 3" in won
    assert {r.data.tags[PARENT] for r in runs(uri)} == {parent.info.run_id}
    assert runs(uri, "point") == []
    of_trials = {r.data.tags[TAG_TRIAL]: r for r in runs(uri)}
    for number, trial_id in enumerate(ids):
        run = of_trials[trial_id]
        assert run.info.run_name.startswith(f"tpe{number} ")
        told = {k: v for k, v in run.data.tags.items() if k.startswith("search/")}
        assert told == {
            "search/method": "tpe", "search/repetition": "0",
            "search/evaluation": str(number), "search/state": "COMPLETE",
        }  # fmt: skip
