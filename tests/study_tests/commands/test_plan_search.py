"""`scorerates plan` of a search: what it will cost, from trials drawn from its space."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.choosing.search import drawn, stages
from study.cli import main
from study.commands.plans.of_search import Lacking, SearchPlan, plan_search, searches_of
from study.planning.cost import DEFAULT_SPEEDS, seconds_of
from study.planning.plan import Slots
from study.running.packing import Packing
from study.spec.messages import SpecError
from study.spec.sections import StudySpec

SEARCH: dict[str, Any] = {
    "samplers": ["tpe", "random"],
    "evaluations": 20,
    "repetitions": 3,
    "batch": 8,
    "space": {
        "width": {"low": 64, "high": 4096},
        "step_size": {"low": 0.1, "high": 4},
        "bias": [True, False],
        "trainer": ["descent", "mlp_adamw"],
    },
}
STUDY: dict[str, Any] = {
    "name": "costs",
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "steps": 256,
    "base": {"samples": [64, 512]},
    "resources": {"workers": 2},
    "device": "cpu",
}
ONE_SIZE = {"width": 256, "step_size": 1.0}


def study(**search: Any) -> StudySpec:
    return StudySpec.from_mapping({**STUDY, "search": {**SEARCH, **search}})


def planned(spec: StudySpec, place: Path) -> SearchPlan:
    return plan_search(spec, place, calibrate=False, tell=print)


def lacking(spec: StudySpec) -> Lacking:
    section = spec.searched()
    return Lacking.of(section, [(w, 0) for w in searches_of(spec, section)], [], set())


def packing(workers: int) -> Packing:
    return Packing(Slots(workers, "cpu"), DEFAULT_SPEEDS["cpu"])


def test_it_counts_searches_evaluations_and_pilots(tmp_path: Path) -> None:
    place = tmp_path / "results"
    plan = planned(study(theory={"samples": 32, "width": 64, "seeds": 4}), place)
    rows = dict(plan.rows())
    assert rows["searches"] == "12 (2 points x 2 samplers x 3 repetitions)"
    assert rows["evaluations"] == "240, 20 of each search (0 done)"
    assert rows["theory"] == "24 pilots, then 6 trials at its choice (0 done)"
    # Of the finals those of the searches: theory's are not sized yet.
    assert rows["to train"].startswith(
        "240 evaluations, 24 trials of theory's and 48 trials of the finals in some "
    )
    assert rows["finals"] == (
        "at most 72 trials: every winner and theory's choice on 4 fresh seeds (0 done)"
    )
    assert "no time for 6 trials at theory's choice" in rows["assumed"]
    assert not place.exists()
    assert "theory" not in dict(planned(study(), place).rows())


def test_one_evaluation_lies_between_the_corners_of_the_space(tmp_path: Path) -> None:
    spec = study()
    rows = dict(planned(spec, tmp_path).rows())
    assert re.search(
        r"N = 64, m = 64, \w+\) to .* N = 512, m = 4096, \w+\)", rows["one evaluation"]
    )
    corners = spec.search_corners()
    # Of another network than the paper's, the bias is no choice.
    assert len(corners) == 2 * 2 * (2 + 1)
    speeds = DEFAULT_SPEEDS["cpu"]
    costs = [seconds_of([corner], speeds) for corner in corners]
    section = spec.searched()
    for where in searches_of(spec, section):
        for trial in drawn(where, section, 16):
            assert min(costs) <= seconds_of([trial], speeds) <= max(costs)


def test_of_a_space_of_one_size_the_plan_is_exact() -> None:
    spec = study(space=ONE_SIZE)
    plan = lacking(spec).packs(packing(2)).plan
    each = [corner.training_operations for corner in spec.search_corners()]
    assert plan.trials == 240
    assert plan.operations == pytest.approx(120 * sum(each))


def test_rounds_of_a_search_wait_for_one_another() -> None:
    """Many workers shorten a round at most to its longest trial, and not the number of rounds."""
    spec = study(space=ONE_SIZE, repetitions=1, samplers="tpe", batch=1)
    alone = lacking(StudySpec.from_mapping({**dump(spec), "base": {"samples": 64}}))
    few, many = (alone.packs(packing(workers)) for workers in (1, 64))
    assert many.longest == pytest.approx(few.longest)
    assert many.seconds == pytest.approx(few.seconds, rel=0.05)
    assert many.plan.training_seconds < many.longest / 10
    both = lacking(spec).packs(packing(2))
    assert both.seconds < lacking(spec).packs(packing(1)).seconds


def dump(spec: StudySpec) -> dict[str, Any]:
    return {**STUDY, "search": spec.searched().model_dump(mode="json", exclude_none=True)}


def test_a_pruner_gives_two_times(tmp_path: Path) -> None:
    space = {"width": 4096, "step_size": 1.0}
    rows = dict(planned(study(space=space, pruner={"kind": "asha"}), tmp_path).rows())
    assert "if asha lets 1 in 4 go on at each rung, " in rows["time"]
    assert "if it ends none" in rows["time"]
    assert rows["arithmetic"].endswith("at most")
    spec = study(space=space, pruner={"kind": "asha"})
    whole, some = (lacking(spec).packs(packing(2), pruned) for pruned in (False, True))
    plain = lacking(study(space=space)).packs(packing(2))
    assert some.seconds < whole.seconds
    assert whole.seconds == pytest.approx(plain.seconds)


def test_the_rungs_of_a_round_are_the_searchs() -> None:
    asha, hyper = (
        study(pruner={"kind": kind, "factor": 4, "rungs": 2}) for kind in ("asha", "hyperband")
    )
    for spec, counts in ((asha, [8, 2, 1]), (hyper, [3, 4, 3])):
        section = spec.searched()
        trials = drawn(searches_of(spec, section)[0], section, 8)
        staged = list(stages(trials, section))
        assert [len(going) for going, _ in staged] == counts
        assert [rung for _, rung in staged] == sorted({rung for _, rung in staged})
        assert staged[-1][1] == 256
    section = study().searched()
    assert [(len(going), rung) for going, rung in stages(trials, section)] == [(8, 256)]


def test_drawn_trials_are_the_same_each_time_and_few_of_them_are_of_all_sizes() -> None:
    spec = study(space={**SEARCH["space"], "trainer": "descent"})
    section = spec.searched()
    where = searches_of(spec, section)[0]
    trials = drawn(where, section, 64)
    assert trials == drawn(where, section, 64)
    assert {t.width for t in trials} == {2**k for k in range(6, 13)}
    mean = sum(t.training_operations for t in trials) / 64
    for begin in range(0, 64, 8):
        part = sum(t.training_operations for t in trials[begin : begin + 8]) / 8
        assert 0.6 * mean < part < 1.6 * mean


def test_wrong_input_is_answered_as_of_a_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def told(code: int, *options: str, **search: Any) -> str:
        text = yaml.safe_dump({**STUDY, "search": {**SEARCH, **search}})
        Path("costs.yaml").write_text(text)
        with pytest.raises(SystemExit) as ended:
            main(["plan", "costs.yaml", "--no-calibrate", *options])
        assert (ended.value.code or 0) == code
        return "".join(capsys.readouterr())

    assert "12 (2 points x 2 samplers x 3 repetitions)" in " ".join(told(0).split())
    assert "must be auto, cpu, cuda or mixed" in told(2, "--device", "tpu")
    assert "needs a directory for it" in told(2, "--storage", "memory://somewhere")
    wide = {"width": {"low": 64, "high": 2**24}, "step_size": 1.0}
    monkeypatch.setattr("study.planning.memory.machine_bytes", lambda: 2.0**30)
    assert "and this machine has 1 GiB: lower width" in told(2, space=wide)
    with pytest.raises(SpecError, match="no `search` section"):
        planned(StudySpec.from_mapping({**STUDY, "base": {"samples": 64, **ONE_SIZE}}), tmp_path)
