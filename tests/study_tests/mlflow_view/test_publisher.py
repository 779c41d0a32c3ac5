"""Finished packs reach the tracker in the background, and its failure costs nothing else."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_trainer import trajectory

from analysis.data.schema import table_from
from study.mlflow_view import publisher as module
from study.mlflow_view.publisher import Publisher
from study.storage.store import Store
from trainers.trial import Cube, TrialConfig


class Tracker:
    """Remembers what it is told; `broken_after` calls it raises."""

    def __init__(self, logged: set[str] | None = None, broken_after: int = 10**9) -> None:
        self.logged = logged or set()
        self.frames: list[pd.DataFrame] = []
        self.broken_after = broken_after
        self.watched = 0
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

    def log_system(self) -> None:
        self.watched += 1

    @property
    def seen(self) -> list[str]:
        return [i for frame in self.frames for i in frame["trial_id"].unique()]


class Server:
    """Keeps what clients log; after `calls_left` trials it fails, having done what was asked."""

    def __init__(self) -> None:
        self.logged: list[str] = []
        self.calls_left = 10**9


class Client:
    """A tracker of that server. It knows what was there when it was opened, and what it logged."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def open(self) -> None:
        if self.server.calls_left <= 0:
            raise ConnectionError("gone")
        self.logged = set(self.server.logged)

    def log_system(self) -> None: ...

    def log_trials(self, frame: pd.DataFrame) -> None:
        for trial_id in frame["trial_id"].unique():
            if trial_id not in self.logged:
                self.server.logged.append(trial_id)
                self.server.calls_left -= 1
                if self.server.calls_left < 0:
                    raise ConnectionError("gone")
                self.logged.add(trial_id)


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
    publisher.start()
    ids = []
    for seed in range(12):
        pack_id, trial_ids = write(store, seed)
        publisher.pack_done(pack_id, trial_ids)
        ids += trial_ids
    tracker.gate.set()
    assert publisher.finish() is tracker
    assert tracker.seen == ids
    assert len(tracker.frames) < 12
    assert errors == []


def test_what_a_killed_driver_did_not_log_is_logged_at_the_start(store: Store) -> None:
    begun, first = write(store, 0, 1)
    done, second = write(store, 2)
    whole, third = write(store, 3)
    tracker = Tracker(logged={first[0], *third})
    publisher = Publisher(store, lambda: tracker, pytest.fail)
    (store.local / "trials" / f"{whole}.parquet").unlink()  # what is logged is not read again
    publisher.start()
    for pack_id, trial_ids in ((begun, first), (done, second), (whole, third)):
        publisher.pack_done(pack_id, trial_ids)
    publisher.finish()
    assert sorted(tracker.seen) == sorted([first[1], *second])


def test_what_a_pack_is_too_old_to_say_is_logged_as_the_study_says_it(store: Store) -> None:
    old = table_from([trajectory(trial(0))], "s").drop_columns(["g_min", "g_max"])
    pack_id, tracker = store.write_pack(old), Tracker()
    publisher = Publisher(store, lambda: tracker, pytest.fail, {"g_min": 5.0, "g_max": 7.0})
    publisher.start()
    publisher.pack_done(pack_id, [trial(0).trial_id])
    publisher.finish()
    (frame,) = tracker.frames
    assert {*frame["g_min"], *frame["g_max"]} == {5.0, 7.0}


@pytest.mark.parametrize("broken_after", [0, 1])
def test_a_failure_is_told_once_and_what_waits_stays_in_the_store(
    store: Store, broken_after: int
) -> None:
    tracker, errors = Tracker(broken_after=broken_after), list[str]()
    publisher = Publisher(store, lambda: tracker, errors.append)
    publisher.start()
    for seed in range(30):
        publisher.pack_done(*write(store, seed))
    tracker.open = lambda: None  # type: ignore[method-assign]  # it stays broken
    assert publisher.finish() is None
    assert errors == ["gone"]
    assert len(tracker.frames) == broken_after


@pytest.mark.slow
def test_a_server_that_comes_back_gets_what_it_missed_and_nothing_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    server = Server()
    errors = list[str]()
    publisher = Publisher(store, lambda: Client(server), errors.append)
    publisher.start()
    ids: list[str] = []
    for seed in range(60):
        pack_id, trial_ids = write(store, seed)
        ids += trial_ids
        publisher.pack_done(pack_id, trial_ids)
        server.calls_left = {20: 2, 30: 10**9, 40: 0, 50: 10**9}.get(seed, server.calls_left)
    assert publisher.finish() is not None
    assert sorted(server.logged) == sorted(ids)
    assert set(errors) <= {"gone"}


def test_a_tracker_that_cannot_be_made_is_a_failure_too(store: Store) -> None:
    def broken() -> Any:
        raise ImportError("no mlflow here")

    errors = list[str]()
    publisher = Publisher(store, broken, errors.append)
    publisher.start()
    publisher.pack_done("0" * 16, ["0"])
    assert publisher.finish() is None
    assert errors == ["no mlflow here"]


def test_the_machine_is_watched_while_nothing_else_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SYSTEM_SECONDS", 0.01)
    tracker = Tracker()
    publisher = Publisher(store, lambda: tracker, pytest.fail)
    publisher.start()
    deadline = time.monotonic() + 60
    while tracker.watched < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    publisher.pack_done(*write(store, 0))
    assert publisher.finish() is tracker
    assert len(tracker.seen) == 1
