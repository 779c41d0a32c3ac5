"""`scorerates search` with Ray: packs, store, MLflow, the page; killed and started again."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from mlflow import MlflowClient
from rich.console import Console
from search_trainer import train
from sessions import Workers

from analysis.data.results import load_results
from analysis.searches.tuning import load_evaluations
from study.choosing.finals import FIRST_FRESH
from study.cli import main
from study.commands.search import search
from study.spec.messages import SpecError
from study.spec.sections import StudySpec
from trainers.trial import TrialConfig

SPEC: dict[str, Any] = {
    "name": "tuned",
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "steps": 256,
    "base": {"samples": [64, 128]},
    "resources": {"workers": 1},
    "search": {
        "evaluations": 8,
        "samplers": ["random"],
        "repetitions": 2,
        "batch": 4,
        "pruner": {"kind": "asha"},
        "theory": {"samples": 32, "width": 64, "seeds": 2},
        "space": {"width": {"low": 64, "high": 512}, "step_size": {"low": 0.1, "high": 4}},
    },
}
SCRIPT = """
from search_trainer import train
from rich.console import Console
from study.commands.search import search
from study.spec.sections import StudySpec
search(StudySpec.load("study.yaml"), "results", "sqlite:///mlflow.db", trainer=train)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the study in it."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SPEC))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trials_in(folder: Path) -> dict[str, list[optuna.trial.FrozenTrial]]:
    url = f"sqlite:///{folder}/results/optuna.db"
    names = optuna.get_all_study_names(url)
    return {n: optuna.load_study(study_name=n, storage=url).trials for n in names}


def any_finished(database: Path) -> bool:
    """Whether a trial has ended. Optuna itself would join in making the tables."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reader:
            found = reader.execute("SELECT 1 FROM trials WHERE state NOT IN ('RUNNING', 'WAITING')")
            return found.fetchone() is not None
    except sqlite3.OperationalError:
        return False


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("fingerprints")
def test_a_killed_search_goes_on_where_it_was_and_every_view_agrees(
    workers: Workers, uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workers.folder / "sleep").write_text("0.5")
    driver = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        env=workers.driver_environment(),
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if any_finished(folder / "results/optuna.db"):
            break
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    killed = trials_in(folder)
    before = {n: {t.number: t.params for t in trials} for n, trials in killed.items()}
    assert any(before.values())
    assert 0 < sum(t.state.is_finished() for ts in killed.values() for t in ts) < 32
    (workers.folder / "sleep").unlink()
    printed = io.StringIO()
    lines = Console(file=printed, width=300)
    spec = StudySpec.load("study.yaml")
    result = search(spec, "results", uri, trainer=train, console=lines)
    assert (result.exit_code, result.evaluations, result.wanted) == (0, 32, 32)
    assert re.search(
        r"^all of it about .* on 1 cpu workers if asha lets ", printed.getvalue(), re.M
    )
    after = trials_in(folder)
    assert len(after) == 4
    for name, trials in after.items():
        assert len(trials) == 8
        assert {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}
        for number, params in before.get(name, {}).items():
            assert trials[number].params == params

    # Every Optuna trial is a trial of the store, of the table, and of MLflow.
    frame = load_results("results/results.parquet")
    evaluations = load_evaluations("results")
    assert evaluations is not None
    state_of = dict(zip(evaluations["trial_id"], evaluations["state"], strict=True))
    asked = {t.user_attrs["trial_id"] for trials in after.values() for t in trials}
    stored = frame.drop_duplicates("trial_id").set_index("trial_id")["status"]
    assert asked <= set(stored.index) == set(evaluations["trial_id"])
    for trial_id in asked:
        expected = {"PRUNED": {"pruned"}, "COMPLETE": {"completed", "diverged"}}
        assert stored[trial_id] in expected[state_of[trial_id]]
    finals = evaluations[evaluations["method"] == "final"]
    fresh = frame[frame["trial_id"].isin(set(finals["trial_id"]))]
    assert set(fresh["seed"]) == {FIRST_FRESH + i for i in range(4)}
    assert set(fresh["samples"]) == {64, 128}
    assert finals["value"].notna().all()
    assert "won the finals: " in " ".join(printed.getvalue().split())
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "tuned"]
    runs = client.search_runs(
        [experiment.experiment_id], "tags.`scorerates.kind` = 'trial'", 1, 500
    )
    logged = Counter(run.data.tags["scorerates.trial_id"] for run in runs)
    assert set(logged) == set(stored.index)
    assert set(logged.values()) == {1}
    assert (folder / "results/report.html").exists()

    monkeypatch.setattr("analysis.report.page.write_report", lambda *_args, **_options: None)
    # Nothing is left to do, and no Ray is started for it.
    with monkeypatch.context() as patch:
        patch.setattr("study.running.session.ray_here", lambda *_: pytest.fail("Ray is started"))
        again = search(spec, "results", None, trainer=train, console=lines)
    assert again.evaluations == 32
    # More evaluations are added to the same Optuna studies.
    longer = StudySpec.from_mapping({**SPEC, "search": {**SPEC["search"], "evaluations": 10}})
    search(longer, "results", None, trainer=train, console=lines)
    for name, trials in trials_in(folder).items():
        assert [t.params for t in trials[:8]] == [t.params for t in after[name]]
        assert len(trials) == 10


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_trial_that_raises_fails_alone(workers: Workers, folder: Path) -> None:
    (workers.folder / "fail_width").write_text("128")
    section = {**SPEC["search"], "repetitions": 1, "evaluations": 8}
    spec = StudySpec.from_mapping({**SPEC, "base": {"samples": 64}, "search": section})
    result = search(spec, "results", None, trainer=train, console=Console(quiet=True))
    assert result.exit_code == 3
    ((trials),) = trials_in(folder).values()
    for trial in trials:
        config = TrialConfig.model_validate_json(trial.user_attrs["config"])
        assert (trial.state.name == "FAIL") == (config.width == 128)
    assert result.failed == sum(t.state.name == "FAIL" for t in trials) > 0


def test_what_a_search_cannot_do_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = StudySpec.from_mapping({**SPEC})
    with pytest.raises(SpecError, match="needs a directory"):
        search(spec, "memory://somewhere", None)
    with pytest.raises(SystemExit) as code:
        main(["run", "study.yaml"])
    assert code.value.code == 2
    assert "scorerates search" in capsys.readouterr().err
    grid = {k: v for k, v in SPEC.items() if k != "search"}
    grid["base"] = {"samples": 64, "width": 8, "step_size": 1.0}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
    for command in ("search", "best"):
        with pytest.raises(SystemExit) as code:
            main([command, "grid.yaml"])
        assert code.value.code == 2
        said = capsys.readouterr().err
        assert "study 'tuned' has no `search` section" in said
        assert "(docs/search.md)" in said
        # What it says to write is a study.
        rest = {key: value for key, value in grid.items() if key != "base"}
        example = yaml.safe_load(said.split("such as\n")[1])
        assert set(example) == {"base", "search"}
        assert StudySpec.from_mapping({**rest, **example}).searched().evaluations == 32
