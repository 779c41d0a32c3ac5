"""`scorerates run` with an adaptive design, through Ray: rounds, a kill, the views."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_trainer import train
from mlflow import MlflowClient
from rich.console import Console
from sessions import Workers

from analysis.data.results import load_results
from study.choosing.adaptive import replayed
from study.cli import main
from study.commands.run import run
from study.spec.sections import StudySpec
from study.storage.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SPEC: dict[str, Any] = {
    "name": "narrow",
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "steps": 500,
    "kernel": False,
    "audit": False,
    "resources": {"workers": 1},
    "base": {"samples": [64, 128, 256, 512, 1024], "width": 4096, "step_size": 1.0},
    "design": {
        "kind": "adaptive",
        "half_width": {"best_score_error": 0.005},
        "budget": {"trials": 400},
    },
}
SCRIPT = """
from fake_trainer import train
from study.commands.run import run
from study.spec.sections import StudySpec
run(StudySpec.load("study.yaml"), "results", "sqlite:///mlflow.db", trainer=train)
"""


@pytest.fixture(autouse=True)
def _study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, with the study in it."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SPEC))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("fingerprints")
def test_a_killed_design_goes_on_and_every_view_agrees(
    workers: Workers,
    uri: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers.control(sleep=0.1)
    driver = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        env=workers.driver_environment(),
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not list(Path("results/trials").glob("*.parquet")):
        time.sleep(0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    # Its workers outlive it for a moment, and store what they had begun.
    workers.wait_until_gone()
    spec, store = StudySpec.load("study.yaml"), Store("results")
    before = set(store.ledger().entries)
    assert before
    workers.control()
    quiet = Console(quiet=True)
    result = run(spec, "results", uri, trainer=train, console=quiet)
    assert result.exit_code == 0
    assert spec.design is not None
    design = replayed(spec.points(), spec.design, store, store.ledger())
    (status,) = design.status()
    assert status.closed == "reached"
    assert design.rounds > 1
    ids = {trial.trial_id for trial in design.trials}
    assert before <= ids == set(store.ledger().entries)
    assert result.counts["completed"] == len(ids)
    assert result.trained == len(ids) - len(before)
    frame = load_results("results/results.parquet")
    assert set(frame["trial_id"]) == ids
    assert json.loads(Path("results/design.json").read_text())[0]["closed"] == "reached"
    (verdict,) = [v for v in result.verdicts if v.quantity == "best_score_error"]
    assert (verdict.ci_high - verdict.ci_low) / 2 <= 0.005
    page = Path("results/report.html").read_text()
    assert "reached; best_score_error ± 0.00" in page
    assert "seeds by N: 64: " in page
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "narrow"]
    runs = client.search_runs(
        [experiment.experiment_id], "tags.`scorerates.kind` = 'trial'", 1, 500
    )
    logged = Counter(run.data.tags["scorerates.trial_id"] for run in runs)
    assert set(logged) == ids
    assert set(logged.values()) == {1}

    monkeypatch.setattr("analysis.report.page.write_report", lambda *_args, **_options: None)
    # Nothing is left to do; what is stored says the same.
    workers.calls()
    run(spec, "results", None, trainer=train, console=quiet)
    assert not workers.calls()
    for command in ("status", "plan", "analyze"):
        with pytest.raises(SystemExit) as ended:
            main([command, "study.yaml", "--storage", "results"])
        assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"{len(ids):,} ({len(ids):,} done)" in said
    # A wider target asks for less than there is, a narrower one for more: both from what is there.
    tight = {
        **SPEC["design"],
        "half_width": {"best_score_error": 0.002},
        "budget": {"trials": len(ids) + 20},
    }
    narrower = StudySpec.from_mapping({**SPEC, "design": tight})
    more = run(narrower, "results", None, trainer=train, console=quiet)
    assert more.counts["completed"] > len(ids)


@pytest.mark.usefixtures("no_report")
def test_failed_trials_are_said_and_the_budget_ends_it(workers: Workers) -> None:
    workers.control(raise_width=4096)
    few = {**SPEC["design"], "budget": {"trials": 100}}
    spec = StudySpec.from_mapping({**SPEC, "design": few})
    result = run(spec, "results", None, trainer=train, console=Console(quiet=True))
    assert result.exit_code == 3
    assert result.counts["failed"] == sum(result.counts.values())
    workers.control()
    again = run(spec, "results", None, trainer=train, console=Console(quiet=True))
    assert again.exit_code == 0
