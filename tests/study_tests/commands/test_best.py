"""`scorerates best`, and the end of a search: what won, in a section that a study accepts."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from rich.console import Console

from analysis.data.results import load_results
from analysis.data.schema import table_from
from analysis.searches.best import load_importance
from study.choosing.finals import FIRST_FRESH, finals_of
from study.choosing.guided import TheoryGuided
from study.choosing.participant import Outcomes, Participant
from study.choosing.search import Search, Where, open_storage
from study.cli import main
from study.commands.best import _Choice, _document
from study.commands.plans.of_search import plan_search
from study.commands.search import search
from study.commands.status import status
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.plan import Slots
from study.running.packing import Packing
from study.running.scheduler import Scheduler
from study.spec.messages import SpecError
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
        guided, searches = [], []
        for point in spec.search_points():
            for r in range(section.repetitions):
                guided.append(TheoryGuided(point, r, section.theory))
                searches.append(Search(storage, spec.name, Where(point, "random", r), section))
        finals = finals_of(spec.search_points(), section, searches, guided)
        participants: list[Participant] = [*guided, *searches, *finals]
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
        own = own[~own["trial_id"].isin(guided_ids(found))]  # its finals have seeds of their own
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
    totals = shares.groupby("samples")["importance"].sum()
    assert totals.between(0.7, 1).all()
    assert (shares["evaluations"] == 48).all()
    for one in found["finals"]:
        if one["place"] == 1:
            assert f"{one['loss']:.5g}" in text
    for duel in found["tuned_against_theory"]:
        assert duel["said"] in text


@pytest.mark.slow
def test_the_finals_are_of_fresh_seeds_and_their_least_mean_loss_wins(
    said: tuple[Path, str],
) -> None:
    """By an independent route: from the rows of results.parquet alone."""
    folder, _ = said
    found = json.loads((folder / "results/search.json").read_text())
    frame = load_results(folder / "results")
    fresh = frame[frame["seed"] >= FIRST_FRESH]
    assert set(fresh["seed"]) == {FIRST_FRESH + i for i in range(4)}
    for samples, own in fresh.groupby("samples"):
        rows = [row for row in found["finals"] if row["samples"] == samples]
        keys = ["width", "step_size", "initialisation", "feature_bias"]
        least = own.loc[own.groupby("trial_id")["holdout_loss"].idxmin()]
        means = least.groupby(keys)[["holdout_loss"]].mean()["holdout_loss"].sort_values()
        assert [row["loss"] for row in rows] == pytest.approx(means.tolist())
        first = dict(zip(keys, means.index[0], strict=True))
        assert rows[0]["width"] == first["width"]
        assert rows[0]["step_size"] == first["step_size"]
        assert [row["place"] for row in rows] == list(range(1, len(rows) + 1))
        chosen = [row for row in found["best"] if row["samples"] == samples]
        assert {t for row in rows for t in row["chosen"].split()} == {
            row["trial_id"] for row in chosen
        }


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
    study = tmp_path / "tuned.yaml"
    study.write_text(pasted(SPEC, text))
    (trial,) = StudySpec.load(study).trials()
    rows = json.loads((folder / "results/search.json").read_text())["best"]
    wanted = method[-1] if method else "random"
    own = {r["trial_id"] for r in rows if r["samples"] == 128 and r["method"] == wanted}
    finals = json.loads((folder / "results/search.json").read_text())["finals"]
    row = next(
        r for r in finals
        if r["samples"] == 128 and (not method or not own.isdisjoint(r["chosen"].split()))
    )  # fmt: skip
    assert (trial.samples, trial.width, trial.step_size) == (128, row["width"], row["step_size"])
    assert (trial.initialisation, trial.bias) == (row["initialisation"], row["bias"])
    assert trial.copies == StudySpec.from_mapping(SPEC).search_points()[0].copies
    assert trial.steps == round(row["step"])
    main_exits("plan", str(study), "--no-calibrate")
    assert "trials" in capsys.readouterr().out
    # With what stands in comments, and with sweeps or more seeds beside it, it is a study too.
    whole = pasted(SPEC, re.sub(r"^# (seeds|audit):", r"\1:", text, flags=re.M))
    spec = StudySpec.from_text(whole + "sweeps: [{samples: [64, 128]}]\n")
    assert not spec.audit
    assert {t.seed for t in spec.trials()} == set(range(2, 10))
    assert {t.samples for t in spec.trials()} == {64, 128}
    with pytest.raises(SpecError, match="'steps' is given twice"):
        StudySpec.from_text(pasted(SPEC, text) + "steps: 256\n")


def pasted(study: dict[str, Any], text: str) -> str:
    """The search's study, with `text` in place of what it says it takes the place of."""
    replaced = ("base", "steps", "search")
    assert "# In place of base, steps and search of the study" in text
    return yaml.safe_dump({k: v for k, v in study.items() if k not in replaced}) + text


@pytest.mark.slow
def test_steps_that_are_an_axis_stay_one(
    said: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The search is the same: `steps` may stand in base."""
    folder, _ = said
    axis = {k: v for k, v in SPEC.items() if k != "steps"}
    axis["base"] = {**SPEC["base"], "steps": 256}
    axis["audit"] = False
    study = tmp_path / "axis.yaml"
    study.write_text(yaml.safe_dump(axis))
    place = str(folder / "results")
    text = printed(capsys, "best", str(study), "--storage", place, "--samples", "64")
    assert "audit" not in text
    assert "documents" not in text
    (trial,) = StudySpec.from_text(pasted(axis, text)).trials()
    assert "won the finals" not in text
    assert re.search(rf"^steps: {trial.steps}", text, re.M) is None  # it stands in base


@pytest.mark.slow
def test_plan_counts_what_is_done_and_writes_nothing(
    said: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = said
    place = folder / "results"
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*")}

    def rows(**search: Any) -> dict[str, str]:
        spec = StudySpec.from_mapping({**SPEC, "search": {**SPEC["search"], **search}})
        return dict(plan_search(spec, place, False, print).rows())

    done = rows()
    assert done["evaluations"] == "96, 24 of each search (96 done)"
    assert done["theory"] == "4 pilots, then 4 trials at its choice (8 done)"
    assert done["to train"] == "0 evaluations in some 0 packs"
    assert "theory" not in done["assumed"]
    more = rows(evaluations=30, repetitions=3)
    assert more["evaluations"] == "180, 30 of each search (96 done)"
    assert more["theory"] == "6 pilots, then 6 trials at its choice (8 done)"
    # Of the finals those of theory's choices that the pilots have yet to size are not foreseen.
    assert more["to train"].startswith(
        "84 evaluations, 2 trials of theory's and 40 trials of the finals in some "
    )
    assert more["finals"].startswith("at most 48 trials: every winner and theory's choice on 4 ")
    assert done["finals"].endswith(" on 4 fresh seeds (24 done)")
    assert "finals" not in rows(finals=0)
    space = {**SPEC["search"]["space"], "bias": True}
    assert rows(space=space)["evaluations"] == "96, 24 of each search (0 done)"
    _, counts, notes = status(Store(place), StudySpec.from_mapping(SPEC))
    assert notes == ["finals of 24 trials, 24 done"]
    assert (counts["evaluations"], counts["missing"]) == (96, 0)
    assert sum(counts.values()) == 2 * 96
    grown = {**SPEC["search"], "evaluations": 30, "repetitions": 3}
    _, counts, notes = status(Store(place), StudySpec.from_mapping({**SPEC, "search": grown}))
    assert notes == ["finals of at most 48 trials, 0 done"]
    assert (counts["evaluations"], counts["missing"]) == (180, 84)
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*")} == before


@pytest.mark.slow
def test_every_point_is_a_document_and_what_is_not_there_is_named(
    said: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder, _ = said
    place = str(folder / "results")
    text = printed(capsys, "best", place)
    assert text.startswith("# 2 documents, one for each law and N: a study takes one of them.")
    documents = list(yaml.safe_load_all(text))
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
    assert "study 'grid' has no `search` section" in capsys.readouterr().err
    alone = tmp_path / "alone.yaml"
    section = {key: value for key, value in SPEC["search"].items() if key != "theory"}
    alone.write_text(yaml.safe_dump({**SPEC, "search": section}))
    main_exits("best", str(alone), "--storage", place, "--method", "theory", code=2)
    assert "--method theory needs search.theory" in capsys.readouterr().err
    main_exits("best", str(alone), "--storage", str(tmp_path / "none"), code=2)
    assert "start it with `scorerates search` first" in capsys.readouterr().err
    section = {**section, "theory": {}}  # as the message says
    assert StudySpec.from_mapping({**SPEC, "search": section}).searched().theory is not None


@pytest.mark.slow
def test_a_whole_study_is_printed_ready_to_run(
    said: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = said
    place = str(folder / "results")
    text = printed(capsys, "best", place, "--samples", "64", "--study", "again")
    spec = StudySpec.from_text(text)
    assert spec.name == "again"
    assert [trial.seed for trial in spec.trials()] == list(range(2, 10))
    assert text.startswith("# tuned: ")
    assert "winner of the finals: " in text
    assert "score error, tuned / theory = " in text
    main_exits("best", place, "--study", "again", code=2)
    assert "this search has 2 points: give --samples N" in capsys.readouterr().err
    text = printed(capsys, "best", place, "--samples", "64", "--study", "1e3")
    assert StudySpec.from_text(text).name == "1e3"
    for name in ("", "a b", "-a"):
        main_exits("best", place, "--samples", "64", "--study", name, code=2)
        assert "a name has letters, digits" in capsys.readouterr().err


@pytest.mark.slow
def test_without_finals_the_furthest_below_its_repetitions_median_is_printed(
    said: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As of a search of before there were finals: its table has no column for them."""
    folder, _ = said
    old = tmp_path / "old"
    shutil.copytree(folder / "results", old)
    table = pd.read_parquet(old / "evaluations.parquet")
    table = table[table["method"] != "final"].drop(columns="finalist")
    # The luck of the data: all losses of the second repetition are lower.
    table.loc[table["repetition"] == 1, "value"] -= 1
    table.to_parquet(old / "evaluations.parquet")
    gains = {}
    for repetition, own in table[(table["method"] == "random") & (table["samples"] == 64)].groupby(
        "repetition"
    ):
        gains[own["value"].median() - own["value"].min()] = repetition
    text = printed(capsys, "best", str(old), "--samples", "64")
    assert f"24 evaluations of random, repetition {gains[max(gains)]}\n" in text
    assert "# Chosen without finals: of each repetition the least loss" in text


@pytest.mark.parametrize("study", [None, "again"])
def test_of_several_t_min_the_one_searched_at_is_printed(study: str | None) -> None:
    """Beside the others of diffusion.t_min it would be trained at all of them."""
    mapping = {**SPEC, "diffusion": {"t_min": [0.05, 0.2], "t_max": 2.0}}
    spec = StudySpec.from_text(yaml.safe_dump(mapping))
    columns = {
        "trial_id": "x", "samples": 64, "width": 128, "step_size": 0.5, "initialisation": "plain",
        "feature_bias": True, "trainer": "descent", "copies": 0, "t_min": 0.2,
    }  # fmt: skip
    row = pd.Series({"trial_id": "x", "law_label": spec.law[0].label})
    choice = _Choice(["the winner"], row, 7, "stops there")
    text = _document(spec, spec.searched(), choice, pd.DataFrame([columns]), study)
    if study is None:
        assert "# (and of diffusion.t_min" in text
        mapping["diffusion"] = {"t_max": 2.0}
        text = pasted(mapping, text)
    trials = StudySpec.from_text(text).trials()
    assert {(t.diffusion.t_min, t.diffusion.t_max, t.width) for t in trials} == {(0.2, 2.0, 128)}
