"""The Credit Default experiment from end to end, small: a tenth of its table where that is at hand,
and a table that scikit-learn ships."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_breast_cancer

from analysis.searches.tuning import load_evaluations

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "credit_default"
NAMED = os.environ.get("SCORERATES_CREDIT_DEFAULT")
"""Where the table is, if not beside the example (docs/credit_default.md)."""
FILE = Path(NAMED) if NAMED else EXAMPLE / "credit_default.csv.gz"


def tenth(folder: Path) -> dict[str, Any]:
    """Every tenth client."""
    pd.read_csv(FILE).iloc[::10].to_csv(folder / "credit_default.csv.gz", index=False)
    return {}


def cancer(folder: Path) -> dict[str, Any]:
    frame = load_breast_cancer(as_frame=True).frame
    names = ["mean texture", "mean area", "worst concavity", "worst symmetry", "target"]
    frame[names].rename(columns={"target": "class"}).to_csv(folder / "cancer.csv", index=False)
    return {"kind": "table", "file": "cancer.csv", "target": "class", "numeric": "quantile"}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "table",
    [
        cancer,
        pytest.param(
            tenth, marks=pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here")
        ),
    ],
)
def test_tstr_against_budget(table: Any, tmp_path: Path) -> None:
    spec = yaml.safe_load((EXAMPLE / "credit_default.yaml").read_text())
    law = table(tmp_path)
    spec |= {"law": law or spec["law"], "steps": 200, "recorded": 20, "holdout_points": 50}
    spec["base"] = {"samples": 128}
    spec["search"] |= {"evaluations": 5, "repetitions": 2, "batch": 5}
    spec["search"]["theory"] |= {"samples": 48, "seeds": 1}
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(spec))

    def run(*command: object) -> str:
        # compiling takes longer than all the rest
        environment = {**os.environ, "TORCH_COMPILE_DISABLE": "1"}
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=environment,
            cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "study.cli", "search", study)
    told = run(EXAMPLE / "tstr_against_budget.py", study)
    results = tmp_path / "results" / "credit_default"
    rows = pd.read_csv(results / "tstr.csv")
    choices = set(rows["choice"])
    assert {"tpe, 1", "tpe, 4", "theory, a priori stop", "theory, held-out stop"} <= choices
    assert "theory's network" in " ".join(choices)
    # A search's numbers are those that the script trains again.
    loss = rows.pivot_table(index="repetition", columns="choice", values="holdout_loss")
    found = load_evaluations(str(results))
    assert found is not None
    for repetition, own in found[found["method"] == "tpe"].groupby("repetition"):
        for n in (1, 4):
            least = own.sort_values("number")["value"].head(n).min()
            assert loss.loc[repetition, f"tpe, {n}"] == pytest.approx(least, rel=1e-3)
    aucs = rows[["tstr_auc_logistic", "tstr_auc_boosting"]]
    assert aucs.notna().all().all()
    assert ((aucs > 0.2) & (aucs <= 1)).all().all()
    assert (rows["tstr_auc_logistic_real"] > 0.6).all()
    summary = pd.read_csv(results / "tstr_summary.csv")
    assert set(summary["choice"]) == choices | {"real rows"}
    assert (summary["low"] <= summary["median"]).all()
    assert (summary["median"] <= summary["high"]).all()
    assert (results / "tstr.png").stat().st_size > 5000
    assert "theory, a priori stop" in told
