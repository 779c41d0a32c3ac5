"""`scorerates best`, and the end of a search: what won, in a section that a study accepts."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from analysis.data.results import load_results
from analysis.data.schema import table_from
from analysis.verdicts.best import load_importance
from study.choosing.guided import TheoryGuided
from study.choosing.participant import Outcomes, Participant
from study.choosing.search import Search, Where, open_storage
from study.cli import main
from study.commands.search import search
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.plan import Slots
from study.running.packing import Packing
from study.running.scheduler import Scheduler
from study.spec.sections import StudySpec
from study.storage.store import Store

SPEC: dict[str, Any] = {
    "name": "tuned",
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "steps": 256,
    "base": {"samples": [64, 128], "copies": "fresh"},
    "search": {
        "samplers": ["random"],
        "evaluations": 24,
        "batch": 12,
        "repetitions": 2,
        "theory": {"samples": 32, "width": 64, "seeds": 1},
        "space": {
            "width": {"low": 64, "high": 512},
            "step_size": {"low": 0.1, "high": 2},
            "initialisation": ["symmetric", "plain"],
            "bias": [True, False],
        },
    },
}


def trained(spec: StudySpec, folder: Path) -> None:
    """All that the search asks for, in the store and in Optuna's database, without Ray."""
    fake, store = importlib.import_module("search_trainer"), Store(folder)
    store.claim(spec.name, spec.text, spec.folder)
    section = spec.search
    assert section is not None
    assert section.theory is not None
    with open_storage(folder) as storage:
        participants: list[Participant] = []
        for point in spec.search_points():
            for r in range(section.repetitions):
                participants.append(TheoryGuided(point, r, section.theory))
                participants.append(Search(storage, spec.name, Where(point, "random", r), section))
        scheduler = Scheduler(participants, Outcomes(store, {}), lambda _pack, _ids: None)
        scheduler.on(Packing(Slots(1, "cpu"), DEFAULT_SPEEDS["cpu"]))
        while (work := scheduler.next_work()) is not None:
            made = [fake.trajectory(config, work.until) for config in work.trials]
            scheduler.came_back(work, store.write_pack(table_from(made, spec.name)))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with study.yaml and results/, and what the search said at its end."""
    folder = tmp_path_factory.mktemp("best")
    (folder / "results").mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False))
    spec = StudySpec.load(folder / "study.yaml")
    trained(spec, folder / "results")
    console = Console(record=True, width=160, quiet=False, file=(folder / "log").open("w"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.report.page.write_report", lambda *_args, **_options: None)
        result = search(spec, folder / "results", None, console=console)
    assert result.exit_code == 0
    return folder, console.export_text()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main_exits(*arguments)
    return capsys.readouterr().out


def main_exits(*arguments: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert (ended.value.code or 0) == code


@pytest.mark.slow
def test_search_json_and_the_end_name_the_least_loss_of_each_search(
    said: tuple[Path, str],
) -> None:
    """By an independent route: from the rows of results.parquet and the rule alone."""
    folder, text = said
    found = json.loads((folder / "results/search.json").read_text())
    frame = load_results(folder / "results")
    best = [row for row in found["best"] if row["method"] == "random"]
    assert len(best) == 4
    for row in best:
        own = frame[(frame["samples"] == row["samples"]) & (frame["seed"] == row["repetition"])]
        own = own[~own["trial_id"].isin(guided_ids(found))]
        least = own.loc[own["holdout_loss"].idxmin()]
        assert row["trial_id"] == least["trial_id"]
        assert (row["step"], row["loss"]) == (least["step"], least["holdout_loss"])
        assert row["score_error"] == least["score_error"]
        assert (row["width"], row["step_size"]) == (least["width"], least["step_size"])
        assert row["bias"] == least["feature_bias"]
        assert row["evaluations"] == 24
        assert f"{row['width']:.0f}" in text
        assert f"{row['loss']:.5g}" in text
    theory = [row for row in found["best"] if row["method"] == "theory"]
    assert {(row["samples"], row["repetition"]) for row in theory} == {
        (n, r) for n in (64, 128) for r in (0, 1)
    }
    for row in theory:
        own = frame[frame["trial_id"] == row["trial_id"]].set_index("step")
        assert own.loc[row["step"], "holdout_loss"] == row["loss"]
        assert own.loc[row["step"], "score_error"] == row["score_error"]
    shares = load_importance(str(folder / "results"))
    assert set(shares["hyperparameter"]) <= {"width", "step_size", "initialisation", "bias"}
    totals = shares.groupby(["samples", "repetition"])["importance"].sum()
    assert totals.tolist() == pytest.approx([1.0] * 4)


def guided_ids(found: dict[str, Any]) -> set[str]:
    return {row["trial_id"] for row in found["best"] if row["method"] == "theory"}


@pytest.mark.slow
@pytest.mark.parametrize("method", [[], ["--method", "theory"]])
def test_the_printed_section_is_a_study_that_plan_accepts(
    said: tuple[Path, str],
    method: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, _ = said
    text = printed(capsys, "best", str(folder / "results"), "--samples", "128", *method)
    rest = {k: v for k, v in SPEC.items() if k not in ("base", "search")}
    study = tmp_path / "tuned.yaml"
    study.write_text(yaml.safe_dump(rest) + text)
    (trial,) = StudySpec.load(study).trials()
    rows = json.loads((folder / "results/search.json").read_text())["best"]
    wanted = method[-1] if method else "random"
    own = [r for r in rows if r["samples"] == 128 and r["method"] == wanted]
    row = min(own, key=lambda r: r["loss"])
    assert (trial.samples, trial.width, trial.step_size) == (128, row["width"], row["step_size"])
    assert (trial.initialisation, trial.bias) == (row["initialisation"], row["bias"])
    assert trial.copies == StudySpec.from_mapping(SPEC).search_points()[0].copies
    main_exits("plan", str(study), "--no-calibrate")
    assert "trials" in capsys.readouterr().out


@pytest.mark.slow
def test_every_point_is_a_document_and_what_is_not_there_is_named(
    said: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, _ = said
    place = str(folder / "results")
    documents = list(yaml.safe_load_all(printed(capsys, "best", place)))
    assert [d["base"]["samples"] for d in documents] == [64, 128]
    assert {d["base"]["copies"] for d in documents} == {"fresh"}
    main_exits("best", place, "--samples", "77", code=2)
    assert "--samples 77: not of this search, which has 64, 128" in capsys.readouterr().err
    main_exits("best", place, "--method", "tpe", code=2)
    assert "--method tpe: not of this search, which has random, theory" in capsys.readouterr().err
    whole, aside = folder / "results/results.parquet", tmp_path / "aside"
    whole.rename(aside)
    main_exits("best", place, code=2)
    assert "this search has not ended yet" in capsys.readouterr().err
    aside.rename(whole)
    other = tmp_path / "grid.yaml"
    base = {"samples": 64, "width": 8, "step_size": 1.0}
    other.write_text(yaml.safe_dump({"name": "grid", "law": SPEC["law"], "base": base}))
    main_exits("best", str(other), "--storage", str(tmp_path / "none"), code=2)
    assert "start it with `scorerates search` first" in capsys.readouterr().err
