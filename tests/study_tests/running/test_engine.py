"""One engine: what `resources` asks for, and what a dying worker costs, is the same for a grid, a
design and a search."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_trainer
import pytest
from rich.console import Console
from sessions import Workers

from analysis.data.schema import table_from
from study import StudySpec, run
from study.choosing.grid import Grid
from study.choosing.participant import Outcomes
from study.commands.search import search
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.memory import COMPILER_BYTES, memory_of
from study.planning.plan import Slots, make_plan
from study.running import engine
from study.running.packing import Packing
from study.running.scheduler import Scheduler, Work
from study.running.watch import packed, unpacked
from study.storage.store import Store

pytestmark = pytest.mark.ray

STUDY: dict[str, Any] = {
    "name": "any",
    "law": {"kind": "cube", "dimension": 2},
    "steps": 1000,
    "kernel": False,
    "audit": False,
}
POINTS = {"samples": [64, 128, 256, 512], "width": 8192, "step_size": 1.0}
KINDS: dict[str, dict[str, Any]] = {
    "grid": {"base": POINTS, "seeds": 40},
    "design": {
        "base": POINTS,
        "design": {
            "kind": "adaptive",
            "half_width": {"best_score_error": 0.003},
            "budget": {"trials": 170},
            "pilot": 40,
        },
    },
    "search": {
        "base": {"samples": 512},
        "search": {
            "samplers": "random",
            "evaluations": 40,
            "batch": 40,
            "space": {"width": [4096, 8192], "step_size": {"low": 0.1, "high": 2}},
        },
    },
}


def spec_of(kind: str, **changes: Any) -> StudySpec:
    return StudySpec.from_mapping({**STUDY, **KINDS[kind], **changes})


@pytest.fixture
def train(workers: Workers, tmp_path: Path, no_report: None) -> Callable[..., Any]:
    """Trains a study with the fake trainer so set; its result, and what it printed."""

    def train(spec: StudySpec, **control: Any) -> Any:
        workers.control(**control)
        command = run if spec.search is None else search
        with (tmp_path / "said").open("w") as file:
            console = Console(file=file, width=120)
            result = command(
                spec, tmp_path / "r", None, trainer=fake_trainer.train, console=console
            )
        return result, (tmp_path / "said").read_text()

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_packs_keep_to_their_memory_and_to_the_number_of_workers(
    kind: str, workers: Workers, train: Callable[..., Any]
) -> None:
    gigabytes = COMPILER_BYTES / 2**30 + 0.0195  # room for a few trials
    limit = gigabytes * 2**30
    resources = {"memory_per_pack": gigabytes, "workers": 1}
    result, said = train(spec_of(kind, steps=20, resources=resources), sleep=0.01)
    assert result.exit_code == 0
    assert ", 1 at once on cpu" in said
    if kind == "grid":
        assert re.search(r"at once on cpu, about .+, and \d+ s after them", said)
    assert len(workers.packs()) > 2
    assert {together for together, _ in workers.packs()} == {1}
    trained = [trials for _, trials in workers.packs()]
    assert max(map(memory_of, trained)) <= limit
    together = [trial for trials in trained for trial in trials]
    unlimited = make_plan(together, Slots(1, "cpu"), DEFAULT_SPEEDS["cpu"]).packs
    assert max(memory_of(pack.trials) for pack in unlimited) > limit


def test_a_trial_that_kills_its_worker_fails_alone_in_a_search_too(
    workers: Workers, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ATTEMPTS_AFTER_A_CRASH", 0)
    section = {**KINDS["search"]["search"], "evaluations": 6, "batch": 6}
    # Small: several go into one pack.
    spec = spec_of("search", base={"samples": 64}, search=section)
    result, said = train(spec, kill_width=4096)
    states = result.table.set_index("trial_id")["state"]
    done = {trial.trial_id for _, trials in workers.packs() for trial in trials}
    assert {i for i, state in states.items() if state == "COMPLETE"} == done
    assert 0 < result.failed == 6 - len(done) < 6
    assert result.exit_code == 3
    assert "lost its worker in 1 of 1 attempts" in said


def test_a_pack_comes_through_a_configuration_as_it_was() -> None:
    trials = spec_of("grid", steps=20).trials()
    pack = make_plan(trials, Slots(1, "cpu"), DEFAULT_SPEEDS["cpu"]).packs[0]
    assert len(pack.trials) > 10
    for until in (None, 10):
        text = packed(Work(pack, until))
        assert unpacked(text) == (list(pack.trials), until)
        assert len(text) < 50 * len(pack.trials)


@pytest.mark.parametrize(("workers", "memory"), [(1, None), (5, None), (2, 0.2 * 2**30)])
def test_a_grids_packs_are_those_of_its_plan(
    workers: int, memory: float | None, tmp_path: Path
) -> None:
    """In its order: the longest first. What is done is left out."""
    trials = spec_of("grid").trials()
    store = Store(tmp_path)
    done = table_from([fake_trainer.trajectory(trial) for trial in trials[:7]], "any")
    pack_id = store.write_pack(done)
    final: list[tuple[str, list[str]]] = []
    outcomes = Outcomes(store, store.ledger().entries)
    scheduler = Scheduler([Grid(trials)], outcomes, lambda *told: final.append(told))
    assert not scheduler.idle()
    assert final == [(pack_id, [trial.trial_id for trial in trials[:7]])]
    slots = Slots(workers, "cpu")
    packing = Packing(slots, DEFAULT_SPEEDS["cpu"], memory=memory)
    expected = make_plan(trials[7:], slots, DEFAULT_SPEEDS["cpu"], memory)
    assert scheduler.on(packing) == expected
    handed = []
    while (work := scheduler.next_work("cpu")) is not None:
        handed.append(work.pack)
        scheduler.came_back(work, work.pack.pack_id)
    assert tuple(handed) == expected.packs
    assert scheduler.done
    assert scheduler.final == len(trials)
