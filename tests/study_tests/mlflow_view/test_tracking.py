"""The MLflow view: nested, idempotent, exact, and rebuilt from the store after any accident."""

import math
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from tracked import (
    assert_logged_columns_equal,
    config,
    diverged,
    frame_of,
    opened,
    runs,
    trajectory,
)

from analysis.data.mlflow_view import (
    LOGGED_SERIES,
    SERIES,
    TAG_KIND,
    TAG_STATUS,
    TAG_TRIAL,
)
from analysis.data.results import load_results
from analysis.data.schema import ResultsError
from analysis.verdicts.evaluation import Evaluation
from study.mlflow_view import tracking
from study.mlflow_view.tracking import PARENT, TrackingError
from trainers.trial import Trajectory, TrialStatus, failed, recorded_steps

pytestmark = pytest.mark.services


def test_runs_are_nested_named_and_described(uri: str) -> None:
    opened(uri).log_trials(frame_of(trajectory(1), diverged(2), failed(config(3), "no luck")))
    (parent,) = runs(uri, "study")
    assert "name: test" in parent.data.tags["mlflow.note.content"]
    by_status = {r.data.tags[TAG_STATUS]: r for r in runs(uri)}
    assert set(by_status) == {"completed", "diverged", "failed"}
    for run in by_status.values():
        assert run.data.tags[PARENT] == parent.info.run_id
    good = by_status["completed"]
    assert good.info.run_name == "N=00064 m=00008 eta=0.3 seed=01 d=2 gaussian_mixture"
    assert good.info.status == "FINISHED"
    assert good.data.metrics["samples"] == 64
    assert good.data.metrics["best_score_error"] == 1e-17
    assert good.data.metrics["best_step"] == 3
    assert "coupling" not in good.data.metrics
    assert by_status["diverged"].info.status == "FINISHED"
    assert by_status["diverged"].data.params["diverged_step"] == "4"
    assert by_status["failed"].info.status == "FAILED"
    assert by_status["failed"].data.params["message"] == "no luck"


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
    assert len(history) == tracking.CHARTED_STEPS
    assert (history[0].step, history[-1].step) == (0, 600)
    for m in history:
        assert m.value == series["score_error"][steps.index(m.step)]
    (last,) = client.get_metric_history(run.info.run_id, "displacement")
    assert (last.step, last.value) == (600, series["displacement"][-1])
    assert_logged_columns_equal(frame, load_results(uri, "test", from_metrics=True))


def test_a_run_of_an_earlier_version_is_refused_and_logged_anew(uri: str) -> None:
    frame = frame_of(trajectory(1), trajectory(2))
    tracker = opened(uri)
    tracker.log_trials(frame)
    run = runs(uri)[0]
    MlflowClient(tracking_uri=uri).delete_tag(run.info.run_id, SERIES)
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
    name = "best_score_error by samples cube d2 width"
    told = {k: v for k, v in parent.data.tags.items() if k.startswith("verdict ")}
    assert told == {
        f"verdict {name} 64": "faster: b = 0.6",
        f"verdict {name} 128": "faster: b = 0.7",
    }
    assert parent.data.metrics[f"exponent {name} 64"] == 0.6
    assert parent.data.metrics[f"exponent {name} 128"] == 0.7


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
    assert parents_of_trials(client) == {found}


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
