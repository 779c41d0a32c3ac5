"""The scripts of examples/analysis run on a study in the store and in MLflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from analysis.verdicts.evaluation import evaluate
from study.mlflow_view.tracking import Tracker

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "analysis"


@pytest.fixture(scope="module")
def places(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results directories a and b, the first also in MLflow; b's error falls as N^-0.1 slower."""
    root = tmp_path_factory.mktemp("studies")
    for name, seed, slower in (("a", 0, 0.0), ("b", 1, 0.1)):
        grid = synthetic.Grid(seeds=4, study=name, recorded=30)
        frame = synthetic.synthetic_table(grid, seed)
        frame["score_error"] *= (frame["samples"].to_numpy(dtype=float) / 64) ** slower
        (root / name).mkdir()
        frame.to_parquet(root / name / "results.parquet")
        if name == "a":
            tracker = Tracker(name, f"sqlite:///{root / 'mlflow.db'}", "name: a", "planted")
            tracker.open()
            tracker.log_study(root / name, evaluate(frame))
            tracker.close("FINISHED")
    return root


def run(script: str, *arguments: object, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scripts_are_short_enough_to_read() -> None:
    scripts = sorted(SCRIPTS.glob("*.py"))
    assert len(scripts) == 3
    assert all(len(script.read_text().splitlines()) < 60 for script in scripts)


@pytest.mark.slow
def test_load_from_mlflow(places: Path) -> None:
    told = run("load_from_mlflow.py", "sqlite:///mlflow.db", "a", "e.svg", folder=places)
    assert "best error against samples: b = 0.6" in told
    assert "theory bound 0.400: faster" in told
    assert (places / "e.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_refit_windows(places: Path) -> None:
    told = run("refit_windows.py", "a", "w.svg", folder=places)
    lines = [line for line in told.splitlines() if " b = " in line]
    assert len(lines) == 18
    plain = [float(line.split("b = ")[1].split()[0]) for line in lines if "A x^-b  " in line]
    assert np.allclose(plain, 0.65, atol=0.1)
    assert (places / "w.svg").stat().st_size > 1000


@pytest.mark.slow
def test_compare_studies(places: Path) -> None:
    told = run("compare_studies.py", "a", "b", "c.svg", folder=places)
    row = next(line for line in told.splitlines() if line.startswith("best_score_error against s"))
    assert row.endswith(" differ")
    assert float(row.split()[5]) == pytest.approx(0.1, abs=0.06)
    same = next(line for line in told.splitlines() if line.startswith("coupling_at_fixed_time"))
    assert same.endswith("no difference seen")
    assert (places / "c.svg").stat().st_size > 1000
