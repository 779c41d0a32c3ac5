"""Finished packs reach the tracker in the background, and its failure costs nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_trainer import trajectory

from analysis.results import table_from
from study.publisher import Publisher
from study.store import Ledger, Store
from trainers.trial import Cube, TrialConfig


class Tracker:
    """Remembers what it is told; `broken_after` calls it raises."""

    def __init__(self, logged: set[str] | None = None, broken_after: int = 10**9) -> None:
        self.logged = logged or set()
        self.frames: list[pd.DataFrame] = []
        self.broken_after = broken_after
        self.gate = threading.Event()
        self.gate.set()

    def open(self) -> None:
        self._count = 0

    def log_trials(self, frame: pd.DataFrame) -> None:
        self.gate.wait(30)
        self._count += 1
        if self._count > self.broken_after:
            raise ConnectionError("gone")
        self.frames.append(frame)

    @property
    def seen(self) -> list[str]:
        return [i for frame in self.frames for i in frame["trial_id"].unique()]


def trial(seed: int) -> TrialConfig:
    return TrialConfig(law=Cube(dimension=1), samples=16, width=4, step_size=1.0, seed=seed)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.claim("s", "", tmp_path)
    return store


def write(store: Store, *seeds: int) -> tuple[str, list[str]]:
    trials = [trial(seed) for seed in seeds]
    pack_id = store.write_pack(table_from([trajectory(t) for t in trials], "s"))
    return pack_id, [t.trial_id for t in trials]


def test_every_pack_is_logged_once_and_in_batches(store: Store) -> None:
    tracker, errors = Tracker(), list[str]()
    tracker.gate.clear()
    publisher = Publisher(store, lambda: tracker, errors.append)
    publisher.start([], Ledger())
    ids = []
    for seed in range(12):
        pack_id, trial_ids = write(store, seed)
        publisher.pack_done(pack_id)
        ids += trial_ids
    tracker.gate.set()
    assert publisher.finish() is tracker
    assert tracker.seen == ids
    assert len(tracker.frames) < 12
    assert errors == []


def test_what_a_killed_driver_did_not_log_is_logged_at_the_start(store: Store) -> None:
    _, first = write(store, 0, 1)
    _, second = write(store, 2)
    tracker = Tracker(logged={first[0]})
    publisher = Publisher(store, lambda: tracker, pytest.fail)
    publisher.start([*first, *second], store.ledger())
    publisher.finish()
    assert sorted(tracker.seen) == sorted([first[1], *second])


@pytest.mark.parametrize("broken_after", [0, 1])
def test_a_failure_is_told_once_and_the_rest_is_dropped(store: Store, broken_after: int) -> None:
    tracker, errors = Tracker(broken_after=broken_after), list[str]()
    publisher = Publisher(store, lambda: tracker, errors.append)
    _, waiting = write(store, 0)
    publisher.start(waiting, store.ledger())
    for seed in range(1, 30):
        publisher.pack_done(write(store, seed)[0])
    assert publisher.finish() is None
    assert errors == ["gone"]
    assert len(tracker.frames) == broken_after


def test_a_tracker_that_cannot_be_made_is_a_failure_too(store: Store) -> None:
    def broken() -> Any:
        raise ImportError("no mlflow here")

    errors = list[str]()
    publisher = Publisher(store, broken, errors.append)
    publisher.start([], Ledger())
    publisher.pack_done("0" * 16)
    assert publisher.finish() is None
    assert errors == ["no mlflow here"]
