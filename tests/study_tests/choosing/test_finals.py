"""The finals as a participant: who is in them, on which seeds, and when."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from analysis.data.schema import table_from
from study.choosing.finals import FIRST_FRESH, Finals, finalists, finals_of
from study.choosing.guided import TheoryGuided
from study.choosing.participant import Outcomes
from study.choosing.search import Search, Where, open_storage
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.plan import Slots
from study.running.packing import Packing
from study.running.scheduler import Scheduler
from study.spec.sections import StudySpec
from study.storage.store import Store
from trainers.trial import TrialConfig, failed

SPEC: dict[str, Any] = {
    "name": "s",
    "law": {"kind": "gaussian_mixture", "dimension": 2},
    "steps": 256,
    "base": {"samples": [64, 128]},
    "search": {
        "samplers": ["random", "qmc"],
        "evaluations": 4,
        "repetitions": 2,
        "finals": 3,
        "theory": {"samples": 32, "width": 64, "seeds": 2},
        "space": {"width": {"low": 64, "high": 512}, "step_size": {"low": 0.1, "high": 2}},
    },
}


class Driver:
    """All participants of a study against the stand-in; `fail` says which trials do."""

    def __init__(self, folder: Path, fail: Any = lambda config: False, **search: Any) -> None:
        section = {k: v for k, v in {**SPEC["search"], **search}.items() if v is not None}
        self.spec = StudySpec.from_mapping({**SPEC, "search": section})
        self.folder, self.fail = folder, fail
        self.store = Store(folder / "results")
        self.outcomes = Outcomes(self.store, self.store.ledger().entries)
        self.trained: list[TrialConfig] = []

    def run(self) -> list[Finals]:
        fake, section = importlib.import_module("search_trainer"), self.spec.searched()
        points = self.spec.search_points()
        with open_storage(self.folder) as storage:
            searches = [
                Search(storage, "s", Where(point, sampler, r), section)
                for point in points
                for sampler in section.samplers
                for r in range(section.repetitions)
            ]
            guided = [
                TheoryGuided(point, r, section.theory)
                for point in points
                for r in range(section.repetitions if section.theory else 0)
            ]
            finals = finals_of(points, section, searches, guided)
            scheduler = Scheduler([*guided, *searches, *finals], self.outcomes)
            scheduler.on(Packing(Slots(1, "cpu"), DEFAULT_SPEEDS["cpu"]))
            while (work := scheduler.next_work()) is not None:
                self.trained += work.trials
                made = [
                    failed(c, "planted") if self.fail(c) else fake.trajectory(c, work.until)
                    for c in work.trials
                ]
                scheduler.came_back(work, self.store.write_pack(table_from(made, "s")))
            assert scheduler.done
        return finals


def test_finalists_are_the_distinct_hyperparameters_of_what_was_chosen() -> None:
    (one, _) = StudySpec.from_mapping(SPEC).search_points()
    same = one.changed(width=64, seed=3)
    also = same.changed(seed=4, kernel=True)
    other = same.changed(width=128)
    found = finalists([same, other, also])
    assert [len(f.chosen) for f in found] == [2, 1]
    assert found[0].chosen == (same.trial_id, also.trial_id)
    assert not found[0].config.kernel
    assert finalists([same, also]) == []
    assert finalists([]) == []


@pytest.mark.slow
def test_finals_come_last_on_seeds_that_nothing_used_and_are_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path)
    finals = driver.run()
    assert len(finals) == 2
    last = [trial for one in finals for trial in one.trials]
    ids = {trial.trial_id for trial in last}
    fresh = {FIRST_FRESH + i for i in range(3)}
    for one in finals:
        assert one.wanted == len(one.trials) == 3 * len(one.finalists)
        at = [i for i, t in enumerate(driver.trained) if t.samples == one.point.samples]
        order = [driver.trained[i].trial_id in ids for i in at]
        assert order == sorted(order)  # those of a point after all else of that point
        for finalist in one.finalists:
            assert {t.seed for t in finalist.trials(3)} == fresh
    assert {t.seed for t in driver.trained if t.trial_id not in ids}.isdisjoint(fresh)
    assert not any(trial.kernel for trial in last)
    again = Driver(tmp_path)
    assert [one.trials for one in again.run()] == [one.trials for one in finals]
    assert again.trained == []
    # Whatever the truth is, the same are in the finals.
    monkeypatch.setenv("POISON", "inverted")
    (tmp_path / "other").mkdir()
    assert [one.trials for one in Driver(tmp_path / "other").run()] == [o.trials for o in finals]


@pytest.mark.slow
def test_a_search_of_before_there_were_finals_trains_them_alone(tmp_path: Path) -> None:
    assert Driver(tmp_path, finals=0).run() == []
    later = Driver(tmp_path)
    finals = later.run()
    assert {t.trial_id for t in later.trained} == {t.trial_id for f in finals for t in f.trials}


@pytest.mark.slow
def test_one_search_has_no_finals_and_what_failed_is_not_in_them(tmp_path: Path) -> None:
    alone = {"samplers": ["random"], "repetitions": 1, "theory": None}
    assert Driver(tmp_path, **alone).run() == []
    (tmp_path / "failed").mkdir()
    driver = Driver(tmp_path / "failed", fail=lambda c: c.kernel and c.samples != 32)
    for one in driver.run():
        assert 2 <= len(one.finalists) <= 4  # theory's two trials failed
        assert {t.steps for t in one.trials} == {256}
