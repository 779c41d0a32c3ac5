"""Searches without Ray: what they ask, what they tell Optuna, what they never look at."""

from __future__ import annotations

import importlib
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from analysis.data.schema import table_from
from study.choosing.participant import Outcome, Outcomes
from study.choosing.search import Search, Where, best_until, open_storage, rungs_of
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.plan import Slots
from study.running.packing import Packing
from study.running.scheduler import Scheduler
from study.spec.sections import StudySpec
from study.storage.files import StoreError
from study.storage.store import Store
from trainers.trial import TrialConfig, recorded_steps

SPEC: dict[str, Any] = {
    "name": "s",
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "steps": 256,
    "base": {"samples": 64},
    "search": {
        "evaluations": 24,
        "space": {
            "width": {"low": 64, "high": 2048},
            "step_size": {"low": 0.1, "high": 4},
            "initialisation": ["symmetric", "plain"],
        },
    },
}
SAMPLERS = ("tpe", "gp", "cmaes", "random", "qmc")


@pytest.fixture(scope="module")
def fake() -> Any:
    return importlib.import_module("search_trainer")


def spec_of(**changes: Any) -> StudySpec:
    return StudySpec.from_mapping({**SPEC, "search": {**SPEC["search"], **changes}})


class Driver:
    """Runs searches against the stand-in, one pack after the other; `packs` of it, then "dies"."""

    def __init__(self, fake: Any, folder: Path, spec: StudySpec, samplers: Any = None) -> None:
        self.fake, self.folder, self.spec = fake, folder, spec
        self.samplers = samplers or spec.search.samplers
        self.store = Store(folder / "results")
        self.outcomes = Outcomes(self.store, {})
        self.trained: list[tuple[str, int | None]] = []
        self.final: list[str] = []

    def run(self, packs: int = 10_000, mischief: Any = None) -> dict[str, list[Any]]:
        """Evaluations and Optuna's trials of each search after at most that many packs."""
        with open_storage(self.folder) as storage:
            searches = [
                Search(storage, "s", Where(point, sampler, repetition), self.spec.search)
                for point in self.spec.search_points()
                for sampler in self.samplers
                for repetition in range(self.spec.search.repetitions)
            ]
            scheduler = Scheduler(searches, self.outcomes, lambda _, ids: self.final.extend(ids))
            scheduler.on(Packing(Slots(1, "cpu"), DEFAULT_SPEEDS["cpu"]))
            for _ in range(packs):
                work = scheduler.next_work()
                if work is None:
                    assert scheduler.done
                    break
                made = [self.fake.trajectory(c, work.until) for c in work.trials]
                if mischief:
                    made = [mischief(t) for t in made]
                self.trained += [(c.trial_id, work.until) for c in work.trials]
                scheduler.came_back(work, self.store.write_pack(table_from(made, "s")))
            return {
                search._label: [search.evaluations(), search._study.get_trials()]
                for search in searches
            }


def params(found: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [trial.params for _, trials in found.values() for trial in trials]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gets_its_evaluations_and_is_seeded(
    sampler: str, fake: Any, tmp_path: Path
) -> None:
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        driver = Driver(fake, folder, spec_of(samplers=sampler, evaluations=16))
        found.append(driver.run())
    ((evaluations, trials),) = found[0].values()
    assert [e.number for e in evaluations] == list(range(16))
    assert {t.state.name for t in trials} == {"COMPLETE"}
    assert params(found[0]) == params(found[1])
    assert len({tuple(p.values()) for p in params(found[0])}) > 12
    assert sorted(driver.final) == sorted(e.trial_id for e in evaluations)


@pytest.mark.slow
def test_model_based_search_finds_a_better_point_than_random(fake: Any, tmp_path: Path) -> None:
    best = {}
    for sampler in ("tpe", "random"):
        (tmp_path / sampler).mkdir()
        spec = spec_of(samplers=sampler, repetitions=3, evaluations=32)
        found = Driver(fake, tmp_path / sampler, spec).run()
        best[sampler] = np.median([min(e.value for e in ev) for ev, _ in found.values()])
    assert best["tpe"] < best["random"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("poison", "pruner"),
    [("random", None), ("null", None), ("inverted", None), ("inverted", {"kind": "asha"})],
)
def test_the_true_score_error_is_never_looked_at(
    poison: str, pruner: Any, fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in score_error, the same trials are asked for, pruned and told."""
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        changes = {"pruner": pruner} if pruner else {}
        # Both samplers draw at random until they know ten values.
        spec = spec_of(samplers=["tpe", "gp"], evaluations=16, batch=4, **changes)
        found.append(Driver(fake, folder, spec).run())
        monkeypatch.setenv("POISON", poison)
    assert params(found[0]) == params(found[1])
    for (clean, _), (poisoned, _) in zip(found[0].values(), found[1].values(), strict=True):
        same = [(e.trial_id, e.state, e.value, e.step) for e in clean]
        assert same == [(e.trial_id, e.state, e.value, e.step) for e in poisoned]
        assert [e.score_error for e in clean] != [e.score_error for e in poisoned]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "packs"), [*((sampler, 1) for sampler in SAMPLERS), ("tpe", 0), ("tpe", 2)]
)
def test_a_driver_that_died_is_followed_as_if_it_had_not(
    sampler: str, packs: int, fake: Any, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    spec = spec_of(samplers=sampler, evaluations=15, batch=5)
    expected = Driver(fake, whole, spec).run()
    driver = Driver(fake, tmp_path, spec)
    driver.run(packs)
    with open_storage(tmp_path) as storage:  # it had asked for more, and was killed at once
        search = Search(storage, "s", Where(spec.search_points()[0], sampler, 0), spec.search)
        search.advance(driver.outcomes)
    found = driver.run()
    assert found.keys() == expected.keys()
    assert params(found) == params(expected)
    ((_, trials),) = found.values()
    assert {t.state.name for t in trials} == {"COMPLETE"}
    assert len(driver.trained) == len(set(driver.trained))


@pytest.mark.slow
def test_a_question_that_was_never_finished_is_a_failure_and_no_evaluation(
    fake: Any, tmp_path: Path
) -> None:
    spec = spec_of(evaluations=16)
    driver = Driver(fake, tmp_path, spec)
    (label,) = driver.run(1)
    study = optuna.load_study(study_name=label, storage=f"sqlite:///{tmp_path}/optuna.db")
    study.ask()
    ((evaluations, trials),) = driver.run().values()
    assert len(evaluations) == 16
    assert [t.state.name for t in trials].count("FAIL") == 1
    assert "RUNNING" not in {t.state.name for t in trials}


@pytest.mark.slow
def test_a_killed_batch_is_completed_before_it_is_trained(fake: Any, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    spec = spec_of(evaluations=16)
    expected = Driver(fake, whole, spec).run()
    with open_storage(tmp_path) as storage:
        search = Search(storage, "s", Where(spec.search_points()[0], "tpe", 0), spec.search)
        for _ in range(3):
            search._ask()
    assert params(Driver(fake, tmp_path, spec).run()) == params(expected)


@pytest.mark.slow
def test_asha_lets_the_best_quarter_of_each_rung_go_on_and_marks_the_others(
    fake: Any, tmp_path: Path
) -> None:
    spec = spec_of(evaluations=48, pruner={"kind": "asha", "factor": 4, "rungs": 2}, samplers="qmc")
    driver = Driver(fake, tmp_path, spec)
    ((evaluations, trials),) = driver.run().values()
    rungs = rungs_of(spec.search_points()[0], spec.search)
    assert rungs == [*rungs[:2], 256]
    assert abs(np.log2(rungs[0] / 16)) < 0.3
    assert abs(np.log2(rungs[1] / 64)) < 0.3
    states = [t.state.name for t in trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
    reached = [max(t.intermediate_values, default=256) for t in trials]
    # In the order of the batches: a trial goes on if it is in the best quarter of all so far.
    for number, trial in enumerate(trials):
        if rungs[0] in trial.intermediate_values:
            last = 8 * (number // 8 + 1)
            values = sorted(
                t.intermediate_values[rungs[0]]
                for t in trials[:last]
                if rungs[0] in t.intermediate_values
            )
            good = trial.intermediate_values[rungs[0]] <= values[max(1, len(values) // 4) - 1]
            assert (reached[number] > rungs[0] or trial.state.name == "COMPLETE") == good
    steps = sum(until or 256 for _, until in driver.trained)
    assert steps < 0.45 * 48 * 256
    best = min(evaluations, key=lambda e: e.value)
    assert best.state == "COMPLETE"
    for e, trial in zip(evaluations, trials, strict=True):
        if e.state == "PRUNED":
            assert e.value == trial.intermediate_values[max(trial.intermediate_values)]
            assert e.step <= max(trial.intermediate_values)


@pytest.mark.slow
def test_operations_count_every_rung_that_was_trained(fake: Any, tmp_path: Path) -> None:
    spec = spec_of(evaluations=16, pruner={"kind": "asha"})
    driver = Driver(fake, tmp_path, spec)
    ((evaluations, trials),) = driver.run().values()
    rungs = rungs_of(spec.search_points()[0], spec.search)
    for e, trial in zip(evaluations, trials, strict=True):
        config = TrialConfig.model_validate_json(trial.user_attrs["config"])
        if config.step_size <= 3:
            last = 256 if e.state == "COMPLETE" else max(trial.intermediate_values)
            steps = sum(rung for rung in rungs if rung <= last)
            assert e.operations == pytest.approx(config.training_operations * steps / 256)


@pytest.mark.slow
def test_hyperband_begins_some_trials_at_later_rungs(fake: Any, tmp_path: Path) -> None:
    spec = spec_of(evaluations=24, pruner={"kind": "hyperband"})
    ((_, trials),) = Driver(fake, tmp_path, spec).run().values()
    rungs = rungs_of(spec.search_points()[0], spec.search)
    for trial in trials:
        first = min(trial.intermediate_values, default=rungs[-1])
        if trial.state.name == "PRUNED" or trial.intermediate_values:
            assert first == rungs[trial.number % 3]
    assert any(t.state.name == "COMPLETE" and not t.intermediate_values for t in trials)


@pytest.mark.slow
def test_failed_trials_are_failures_and_diverged_ones_keep_what_they_reached(
    fake: Any, tmp_path: Path
) -> None:
    from trainers.trial import failed

    def mischief(t: Any) -> Any:
        return failed(t.config, "planted") if t.config.width == 128 else t

    ((evaluations, trials),) = Driver(fake, tmp_path, spec_of()).run(mischief=mischief).values()
    assert len(evaluations) == 24
    for e, trial in zip(evaluations, trials, strict=True):
        config = TrialConfig.model_validate_json(trial.user_attrs["config"])
        assert (e.state == "FAIL") == (config.width == 128)
        assert np.isnan(e.value) == (config.width == 128)


@pytest.mark.slow
def test_the_objective_is_the_least_held_out_loss_along_the_trajectory(
    fake: Any, tmp_path: Path
) -> None:
    ((evaluations, trials),) = Driver(fake, tmp_path, spec_of()).run().values()
    for e, trial in zip(evaluations, trials, strict=True):
        config = TrialConfig.model_validate_json(trial.user_attrs["config"])
        t = fake.trajectory(config)
        index = int(np.argmin(t.series["holdout_loss"]))
        assert (e.value, e.step) == (t.series["holdout_loss"][index], t.steps[index])
        assert e.score_error == t.series["score_error"][index]
        assert e.trial_id == config.trial_id


def test_a_value_up_to_a_rung_ignores_what_came_after() -> None:
    steps = np.array(recorded_steps(100, 10))
    loss = np.linspace(1, 0, len(steps))
    outcome = Outcome("completed", steps, {"holdout_loss": loss}, {}, 1.0)
    assert best_until(outcome, int(steps[4])) == (loss[4], 4)
    assert best_until(outcome, 100) == (0.0, len(steps) - 1)
    broken = np.full(len(steps), np.nan)
    assert best_until(Outcome("diverged", steps, {"holdout_loss": broken}, {}, 1.0), 100) is None


@pytest.mark.slow
def test_searches_are_apart_and_spaces_may_be_several(fake: Any, tmp_path: Path) -> None:
    base = {"samples": [32, 64]}
    space = [
        {"width": [64, 128], "step_size": [0.5, 1.0]},
        {"width": {"low": 64, "high": 512}, "step_size": {"low": 0.01, "high": 0.1},
         "trainer": ["adam", "mlp_adamw"], "bias": [True, False]},
    ]  # fmt: skip
    section = {"evaluations": 16, "repetitions": 2, "samplers": ["tpe", "cmaes"], "space": space}
    spec = StudySpec.from_mapping({**SPEC, "base": base, "search": section})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = Driver(fake, tmp_path, spec).run()
    assert len(found) == 8
    for label, (evaluations, trials) in found.items():
        assert len(evaluations) == 16
        for trial in trials:
            config = TrialConfig.model_validate_json(trial.user_attrs["config"])
            assert f"N={config.samples} " in label
            assert f"repetition={config.seed} " in label
            assert not config.kernel
            first = trial.params["space"] == 0
            assert (config.trainer == "descent") == first
            assert (config.step_size > 0.2) == first
            assert ("bias_1" in trial.params) == (config.trainer == "adam")


@pytest.mark.slow
def test_two_searches_that_want_one_trial_train_it_once(fake: Any, tmp_path: Path) -> None:
    space = {"width": [64, 128], "step_size": [0.5, 1.0]}
    spec = spec_of(samplers=["random", "tpe"], space=space, evaluations=12)
    driver = Driver(fake, tmp_path, spec)
    found = driver.run()
    assert [len(e) for e, _ in found.values()] == [12, 12]
    assert len(driver.trained) == len(set(driver.trained)) <= 4


def test_a_changed_space_gets_a_study_beside_the_old_one(fake: Any, tmp_path: Path) -> None:
    """Optuna refuses to widen a choice; and a sampler would learn from trials of another space."""
    narrow = {"space": {"width": [16, 32], "step_size": {"low": 0.1, "high": 1.0}}}
    wide = {"space": {"width": [16, 32, 64], "step_size": {"low": 0.1, "high": 1.0}}}
    specs = [spec_of(evaluations=4, batch=2, **changes) for changes in (narrow, wide)]
    first = Driver(fake, tmp_path, specs[0]).run()
    second = Driver(fake, tmp_path, specs[1]).run()
    assert first.keys().isdisjoint(second)
    assert [len(evaluations) for evaluations, _ in second.values()] == [4]
    again = Driver(fake, tmp_path, specs[0])
    assert list(again.run()) == list(first)
    assert not again.trained  # the old search is as it was, and done


def test_a_folder_with_a_question_mark_holds_its_own_database(fake: Any, tmp_path: Path) -> None:
    folder = tmp_path / "q?x #1%20"
    folder.mkdir()
    Driver(fake, folder, spec_of(evaluations=2, batch=2)).run()
    assert sorted(path.name for path in folder.iterdir()) == ["optuna.db", "results"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_locked_database_is_waited_for_then_named(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.choosing.search.LOCK_SECONDS", 0.2)
    spec = spec_of(evaluations=4, batch=2)
    Driver(fake, tmp_path, spec).run(packs=1)
    with closing(sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(StoreError, match="database is locked; another program kept it for 0 s"):
            Driver(fake, tmp_path, spec).run()
    ((evaluations, _),) = Driver(fake, tmp_path, spec).run().values()
    assert len(evaluations) == 4


def test_a_database_of_an_older_schema_is_named(fake: Any, tmp_path: Path) -> None:
    spec = spec_of(evaluations=2, batch=2)
    Driver(fake, tmp_path, spec).run()
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as database:
        database.execute("update version_info set schema_version = 11")
        database.execute("update alembic_version set version_num = 'v2.6.0.a'")
        database.commit()
    with pytest.raises(StoreError, match="optuna storage upgrade"):
        Driver(fake, tmp_path, spec).run()


def test_what_is_no_database_is_named(fake: Any, tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        Driver(fake, tmp_path, spec_of()).run()


def test_an_error_that_is_not_the_databases_keeps_its_own_words(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(outcome: Any, until: int) -> None:
        raise StoreError("trials were trained but are not in the storage")

    monkeypatch.setattr("study.choosing.search.best_until", missing)
    with pytest.raises(StoreError, match=r"^trials were trained"):
        Driver(fake, tmp_path, spec_of(evaluations=2, batch=2)).run()


@pytest.mark.slow
def test_optuna_holds_widths_as_widths_and_names_the_objective(fake: Any, tmp_path: Path) -> None:
    """What optuna-dashboard shows; the first and the last power are as likely as the others."""
    spec = spec_of(samplers=["random"], evaluations=240, batch=80)
    ((label, (_, trials)),) = Driver(fake, tmp_path, spec).run().items()
    widths = [trial.params["width"] for trial in trials]
    assert set(widths) == {64, 128, 256, 512, 1024, 2048}
    counts = np.array([widths.count(2**k) for k in range(6, 12)])
    assert ((counts - 40) ** 2 / 40).sum() < 20.5  # chi^2 of 5 degrees exceeds it once in 1000
    for trial in trials:
        config = TrialConfig.model_validate_json(trial.user_attrs["config"])
        assert config.width == trial.params["width"]
    with open_storage(tmp_path) as storage:
        study = optuna.load_study(study_name=label, storage=storage)
        assert study.metric_names == ["held-out loss"]


def test_a_search_that_asked_for_exponents_goes_on_with_them(fake: Any, tmp_path: Path) -> None:
    spec = spec_of(evaluations=4, batch=2, samplers=["random"])
    (point,) = spec.search_points()
    with open_storage(tmp_path) as storage:
        label = Where(point, "random", 0).label("s")
        study = optuna.create_study(storage=storage, study_name=label)
        study.add_trial(
            optuna.trial.create_trial(
                value=1.0,
                params={"log2_width": 7},
                distributions={"log2_width": optuna.distributions.IntDistribution(6, 11)},
            )
        )
    ((_, trials),) = (found for found in Driver(fake, tmp_path, spec).run().values())
    assert len(trials) == 5
    for trial in trials[1:]:
        config = TrialConfig.model_validate_json(trial.user_attrs["config"])
        assert config.width == 2 ** trial.params["log2_width"]
        assert "width" not in trial.params
