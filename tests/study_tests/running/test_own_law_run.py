"""A study of a law of one's own, run under Ray by workers that do not have its file."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from own_laws import own_laws as own_laws
from rich.console import Console
from sessions import Workers

from analysis.data.audit import load_audit
from analysis.data.results import load_results
from study import StudySpec, run
from study.commands.analyze import analyze_store
from study.commands.located import known_trials, owned
from study.storage.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STUDY = """
name: own
law:
  - {kind: "mine:Normal", dimension: 2}
  - {kind: "mine:Sampled", dimension: 2}
  - {kind: gaussian, dimension: 2}
steps: 60
seeds: 4
base: {samples: [16, 32, 64, 128, 256], width: .inf, step_size: 1.0}
audit: false
test_points: 512
holdout_points: 64
resources: {workers: 1}
"""


def test_both_routes_have_the_numbers_of_the_shipped_gaussian(
    own_laws: Path, tmp_path: Path, workers: Workers, no_report: None, uri: str
) -> None:  # fmt: skip
    storage, out = tmp_path / "results", io.StringIO()
    spec = StudySpec.from_text(STUDY, own_laws)
    result = run(spec, storage, uri, console=Console(file=out, width=200))
    assert (result.exit_code, result.counts["completed"]) == (0, 60)
    frame = load_results(storage / "results.parquet")
    trials = frame.drop_duplicates("trial_id").set_index("law")
    assert set(trials.index) == {"mine:Normal", "mine:Sampled", "gaussian"}
    noise = trials.groupby("law")["noise_variance"].first()
    assert noise["mine:Normal"] == pytest.approx(noise["gaussian"], rel=0.02)
    assert noise["mine:Sampled"] == pytest.approx(noise["gaussian"], rel=0.05)
    assert set(trials.loc["mine:Normal", "noise_source"]) == {"simulated"}
    assert set(trials.loc["mine:Sampled", "noise_source"]) == {"exact"}
    best = frame.groupby(["law", "samples", "trial_id"])["score_error"].min()
    best = np.log(best).groupby(["law", "samples"]).mean().unstack("law")
    for name in ("mine:Normal", "mine:Sampled"):  # within the scatter of four seeds
        assert abs((best[name] - best["gaussian"]).mean()) < math.log(1.5)
    assert {v.law for v in result.verdicts} > {"mine:Normal", "mine:Sampled"}

    # of one law alone: nothing is trained again, and its assumptions are measured
    alone = STUDY.replace('  - {kind: "mine:Sampled", dimension: 2}\n', "").replace(
        "  - {kind: gaussian, dimension: 2}\n", ""
    )
    text = alone.replace("audit: false\n", "audit_points: 1024\n")
    spec = StudySpec.from_text(text, own_laws)
    again = run(spec, storage, uri, console=Console(file=out, width=200))
    assert (again.trained, again.exit_code) == (0, 0)
    assert "were not measured" not in out.getvalue()
    audit = load_audit(storage)
    assert audit is not None
    assert "lipschitz_x" in set(audit["quantity"])
    assert "support_radius" not in set(audit["quantity"])

    # results are read without the file
    (own_laws / "mine.py").unlink()
    store = Store(storage)
    stored = owned(store, None)
    assert len(known_trials(store, stored, store.ledger())) == 20
    verdicts = [v.to_dict() for v in analyze_store(store)]
    assert verdicts == [v.to_dict() for v in again.verdicts]
