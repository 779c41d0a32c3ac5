"""A study with the kernel limit among its widths, from the spec to the report, and resumed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.data.results import load_results
from analysis.report import page
from study import StudySpec, run
from trainers import train_pack

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

STUDY = """
name: limit
law: {kind: gaussian_mixture, dimension: 2, components: 4, seed: 5}
steps: 400
seeds: 3
test_points: 128
holdout_points: 64
recorded: 12
base: {samples: 32, width: 64, step_size: 1.0}
sweeps:
  - {samples: [16, 32, 64, 128, 256], width: [64, inf]}
  - {width: [16, 32, 64, 128, 256, inf]}
audit: false
resources: {workers: 1}
"""
MORE = STUDY.replace("256], width: [64, inf]", "256, 512], width: [64, inf]").replace(
    "seeds: 3", "seeds: {network: 3, kernel: 6}"
)


@pytest.mark.usefixtures("eager", "fingerprints", "workers")
def test_a_study_with_infinite_width_runs_is_judged_and_grows(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "results"
    first = run(StudySpec.from_text(STUDY), storage=storage, tracking_uri=uri)
    assert first.counts["completed"] == 3 * (5 * 2 + 4)
    frame = load_results(storage)
    limit = frame[np.isinf(frame["width"])]
    assert limit["trial_id"].nunique() == 15
    # What the workers stored is what the trial gives here.
    spec = StudySpec.from_text(STUDY)
    (one,) = (t for t in spec.trials() if t.infinite and (t.samples, t.seed) == (64, 1))
    (trajectory,) = train_pack([one], "cpu")
    rows = limit[limit["trial_id"] == one.trial_id]
    np.testing.assert_allclose(rows["score_error"], trajectory.series["score_error"], rtol=1e-9)

    # The rate over N at infinite width is judged like that of any width, and no curve over the
    # width holds an infinite one.
    verdicts = json.loads((storage / "verdicts.json").read_text())
    over_n = [v for v in verdicts if v["quantity"] == "best_score_error" and v["axis"] == "samples"]
    assert {v["fixed"]["width"] for v in over_n} == {64, "inf"}
    over_m = [v for v in verdicts if v["axis"] == "width"]
    assert all(v["range"][1] == 256 for v in over_m)
    assert over_m
    assert (storage / "report.html").is_file()
    monkeypatch.setattr(page, "write_report", lambda *_args, **_options: None)

    # From MLflow come the same numbers.
    logged = load_results(uri, "limit", from_metrics=True)
    there = logged[logged["trial_id"] == one.trial_id]
    np.testing.assert_allclose(there["score_error"], rows["score_error"], rtol=1e-12)
    assert np.isinf(there["width"]).all()

    # More trials are added to what there is, and seeds of the kernel alone beside networks that are
    # never trained again: rates over N then rest on both.
    second = run(StudySpec.from_text(MORE), storage=storage, tracking_uri=uri)
    assert second.trained == 3 * 2 + 3 * 6
    grown = load_results(storage)
    assert grown[np.isinf(grown["width"])]["trial_id"].nunique() == 18 + 18
    verdicts = json.loads((storage / "verdicts.json").read_text())
    (levels,) = (
        v["fit"]["two_levels"]
        for v in verdicts
        if (v["quantity"], v["axis"], v["fixed"].get("width"))
        == ("best_score_error", "samples", 64)
    )
    assert (levels["network_seeds"], levels["kernel_seeds"]) == (3, 6)
    assert 0.5 < levels["correlation"] <= 1
    # What is the kernel's own is judged where the kernel stands.
    own = [v["fixed"]["width"] for v in verdicts if v["quantity"] == "interpolation_error"]
    assert own == ["inf"]
