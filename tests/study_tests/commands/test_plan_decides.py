"""`scorerates plan` says what a study will decide: a line a prediction, by pilots or by the study's
own trials."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from study import cli
from study.commands.plans.of_study import StudyPlan, plan_study, scales_of
from study.spec.sections import StudySpec
from study.storage.store import Store

SPEC = """
name: told
law: {kind: gaussian_mixture, dimension: 2, seed: 5}
steps: 1000
SEEDS
base: {samples: 512, width: 256, step_size: 1.0}
sweeps:
  - samples: [64, 128, 256, 512, 1024, 2048]
  - width: [64, 128, 256]
"""


def planned(seeds: str, place: Path) -> StudyPlan:
    spec = StudySpec.from_text(SPEC.replace("SEEDS", seeds))
    return plan_study(spec, place, calibrate=False, tell=print)


@pytest.mark.slow
def test_a_line_a_prediction_and_what_the_range_lacks(tmp_path: Path) -> None:
    plan = planned("seeds: 8", tmp_path)
    told = dict(plan.decides())
    assert len(told) == len(plan.decides())
    assert told["best error against samples"].startswith("±0.0")
    assert told["coupling against width"].startswith("cannot: needs 5 values of m or more")
    assert "pilots" in plan.basis
    assert all("\n" not in line for line in told.values())


@pytest.mark.slow
def test_the_kernel_beside_the_networks_adds_no_lines_and_narrows_theirs(tmp_path: Path) -> None:
    alone = dict(planned("seeds: 8", tmp_path).decides())
    both = dict(planned("seeds: {network: 8, kernel: 128}", tmp_path).decides())
    assert list(both) == list(alone)
    name = "kernel's best error against samples"
    half = [float(told[name].removeprefix("±").split(",")[0]) for told in (alone, both)]
    assert half[1] < 0.5 * half[0]


@pytest.mark.slow
def test_what_needs_an_audit_is_not_promised_without_one(tmp_path: Path) -> None:
    lines = [
        list(dict(planned(f"seeds: 3\naudit: {audit}", tmp_path).decides()).values())
        for audit in ("true", "false")
    ]
    said = [any("comes from the audit" in line for line in told) for told in lines]
    assert said == [True, False]


@pytest.mark.slow
def test_what_needs_an_audit_is_not_promised_of_other_training(tmp_path: Path) -> None:
    """Of other noise than its spectrum is of, or from another start than 0; nor without one, where
    the range would be too short besides."""
    text = SPEC.replace("SEEDS", "seeds: 3")
    other = text.replace("step_size: 1.0}", "step_size: 1.0, copies: 4}")
    short = text.replace("128, 256, 512, 1024, 2048", "128")
    plain = text.replace("step_size: 1.0}", "step_size: 1.0, initialisation: plain}")
    usual, copies, start, few = (
        plan_study(StudySpec.from_text(one), tmp_path, calibrate=False, tell=print)
        for one in (text, other, plain, f"{short}audit: false\n")
    )
    asked = [name for name, _told in usual.decides() if name.startswith(("kernel's", "network's"))]
    assert len(asked) == 4
    others = (copies, start, few)
    assert not {*asked} & {name for plan in others for name, _told in plan.decides()}
    assert "(best errors and times about the audit's spectrum)" in usual.basis
    for plan in (copies, start):
        assert "the audit's spectrum does not say how they go on" in plan.basis
    assert "without the audit" in few.basis


@pytest.mark.slow
def test_that_draws_of_the_law_scatter_is_said(tmp_path: Path) -> None:
    alone = planned("seeds: 8", tmp_path)
    text = SPEC.replace("SEEDS", "seeds: 8").replace("seed: 5}", "seed: 5, draws: 3}")
    plan = plan_study(StudySpec.from_text(text), tmp_path, calibrate=False, tell=print)
    assert "over draws of the law" not in alone.basis
    assert "those over draws of the law are wider" in plan.basis
    assert dict(plan.decides()).keys() == dict(alone.decides()).keys()


@pytest.mark.slow
def test_only_theories_that_the_study_names_have_lines(tmp_path: Path) -> None:
    told = dict(planned("seeds: 8\ntheories: linearisation", tmp_path).decides())
    assert list(told) == ["coupling against width"]


def test_a_designs_seeds_are_its_own_matter(tmp_path: Path) -> None:
    design = "design: {kind: adaptive, half_width: {best_score_error: 0.05}, budget: {trials: 90}}"
    text = SPEC.replace("SEEDS", design).replace("  - width: [64, 128, 256]\n", "")
    plan = plan_study(StudySpec.from_text(text), tmp_path, calibrate=False, tell=print)
    assert plan.decides() == []


def test_the_studys_own_trials_say_how_they_scatter(synthetic: ModuleType, tmp_path: Path) -> None:
    """A results table stands in the storage: its scatter replaces that of the pilots."""
    assert scales_of(Store(tmp_path)) == {}
    grid = synthetic.Grid(seeds=6, noise=0.6, recorded=15)
    synthetic.synthetic_table(grid).to_parquet(tmp_path / "results.parquet")
    scales = scales_of(Store(tmp_path))
    assert scales["best_score_error", 2] > 2
    (tmp_path / "results.parquet").write_bytes(b"damaged")
    assert scales_of(Store(tmp_path)) == {}


@pytest.mark.slow
def test_a_trainer_without_a_kernel_limit_is_asked_nothing_of_kernels(tmp_path: Path) -> None:
    """Nor is its best time expected at that of gradient descent, which was the pilots' trainer."""
    text = SPEC.replace("SEEDS", "seeds: 8").replace("steps: 1000", "steps: 100")
    short = text.replace("step_size: 1.0", "step_size: 0.01, trainer: TRAINER")
    told = {
        trainer: dict(
            plan_study(
                StudySpec.from_text(short.replace("TRAINER", trainer)), tmp_path, False, print
            ).decides()
        )
        for trainer in ("descent", "adam")
    }
    assert "kernel's best error against samples" in told["descent"]
    assert not any("kernel" in name or "coupling" in name for name in told["adam"])
    assert "steps" in told["descent"]["best error against samples"]
    assert "cannot" not in told["adam"]["best error against samples"]


def test_a_plan_says_that_a_table_has_no_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{i % 7}.5,{i % 5}.25\n" for i in range(100))
    (tmp_path / "rows.csv").write_text("x,y\n" + rows)
    study = tmp_path / "rows.yaml"
    study.write_text(
        "name: rows\nlaw: {kind: table, file: rows.csv}\nsteps: 20\n"
        "base: {samples: [16, 32], width: 16, step_size: 0.1}\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", str(study), "--no-calibrate"])
    assert not ended.value.code
    assert "no rate to judge: of a law of kind table f*" in capsys.readouterr().out
