"""A pack in a worker: rows in the store, and a bad trial fails alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_trainer import trajectory

from study.running.worker import Job, References, failed_rows, train_into_store
from study.storage.store import Store
from trainers.methods.custom import source_files, trainer_fields
from trainers.trial import Cube, Trajectory, TrialConfig


def trial(seed: int, **others: Any) -> TrialConfig:
    fields = {"law": Cube(dimension=1), "samples": 16, "width": 4, "step_size": 1.0, **others}
    return TrialConfig(seed=seed, **fields)


class Trainer:
    """Fails for packs that hold one of `bad`, if they hold more than `alone` trials."""

    def __init__(self, *bad: int, alone: int = 0) -> None:
        self.bad, self.alone = bad, alone
        self.calls: list[tuple[int, ...]] = []
        self.options: dict[str, Any] = {}

    def __call__(
        self, configs: Sequence[TrialConfig], device: str = "auto", **options: Any
    ) -> list[Trajectory]:
        self.calls.append(tuple(c.seed for c in configs))
        self.options = {"device": device, **options}
        if len(configs) > self.alone and any(c.seed in self.bad for c in configs):
            raise RuntimeError("out of memory")
        options["on_progress"](1.0)
        return [trajectory(c) for c in configs]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.claim("s", "", tmp_path)
    return store


def test_a_pack_is_trained_in_one_call_with_what_the_job_says(store: Store) -> None:
    trainer, done = Trainer(), list[float]()
    job = Job("s", store, "cpu", 3, trainer)
    counts = train_into_store(job, [trial(0), trial(1, step_size=5.0)], {}, done.append)
    assert trainer.calls == [(0, 1)]
    assert (trainer.options["device"], trainer.options["threads"]) == ("cpu", 3)
    assert done == [1.0]
    pack_id = counts.pop("pack_id")
    assert counts == {"completed": 1, "diverged": 1, "pruned": 0, "failed": 0}
    assert store.pack_ids() == [pack_id]
    assert set(store.read_pack(pack_id)["study"].to_pylist()) == {"s"}


def test_a_pack_that_raises_is_trained_one_by_one(store: Store) -> None:
    trainer = Trainer(1)
    configs = [trial(seed) for seed in range(3)]
    counts = train_into_store(Job("s", store, "cpu", 1, trainer), configs, {}, lambda _: None)
    assert trainer.calls == [(0, 1, 2), (0,), (1,), (2,)]
    assert (counts["completed"], counts["failed"]) == (2, 1)
    ledger = store.ledger()
    assert [ledger.entries[c.trial_id].status for c in configs] == [
        "completed",
        "failed",
        "completed",
    ]
    table = store.read_pack(counts["pack_id"])
    messages = dict(zip(table["trial_id"].to_pylist(), table["message"].to_pylist(), strict=True))
    assert messages[configs[1].trial_id] == "RuntimeError: out of memory"


class Small:
    """A trainer with room for `room` trials; what it says when it has none."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.sizes: list[int] = []

    def __call__(
        self, configs: Sequence[TrialConfig], device: str = "auto", **options: Any
    ) -> list[Trajectory]:
        self.sizes.append(len(configs))
        if len(configs) > self.room:
            raise self.error
        return [trajectory(c) for c in configs]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_pack_too_large_for_the_memory_is_halved_until_it_fits(
    store: Store, error: Exception
) -> None:
    configs = [trial(seed) for seed in range(7)]
    trainer = Small(2, error)
    counts = train_into_store(Job("s", store, "cpu", 1, trainer), configs, {})
    assert trainer.sizes == [7, 4, 2, 2, 3, 2, 1]
    assert counts["completed"] == 7
    table = store.read_pack(counts["pack_id"])
    assert list(dict.fromkeys(table["trial_id"].to_pylist())) == [c.trial_id for c in configs]


def test_a_trial_too_large_alone_is_a_row(store: Store) -> None:
    counts = train_into_store(
        Job("s", store, "cpu", 1, Small(0, MemoryError("9 GiB"))), [trial(0), trial(1)], {}
    )
    assert counts["failed"] == 2
    messages = store.read_pack(counts["pack_id"])["message"].to_pylist()
    assert messages == ["MemoryError: 9 GiB"] * 2


def test_a_real_allocation_that_fails_counts_as_out_of_memory(store: Store) -> None:
    def greedy(configs: Sequence[TrialConfig], device: str = "", **_: Any) -> list[Trajectory]:
        sizes.append(len(configs))
        if len(configs) > 2:
            torch.empty(2**60, dtype=torch.uint8)
        return [trajectory(c) for c in configs]

    sizes: list[int] = []
    counts = train_into_store(Job("s", store, "cpu", 1, greedy), [trial(i) for i in range(4)], {})
    assert (sizes, counts["completed"]) == ([4, 2, 2], 4)


def test_a_pack_that_is_stored_is_not_trained_again_unless_a_trial_failed(store: Store) -> None:
    configs = [trial(0), trial(1, step_size=5.0)]
    first = train_into_store(Job("s", store, "cpu", 1, Trainer()), configs, {}, lambda _: None)
    again = Trainer()
    assert (
        train_into_store(Job("s", store, "cpu", 1, again), configs[::-1], {}, lambda _: None)
        == first
    )
    assert again.calls == []
    assert store.local is not None
    path = store.local / "trials" / f"{first['pack_id']}.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    assert train_into_store(Job("s", store, "cpu", 1, again), configs, {}, lambda _: None) == first
    assert again.calls == [(0, 1)]

    bad, good = Trainer(7), Trainer()
    assert (
        train_into_store(Job("s", store, "cpu", 1, bad), [trial(7)], {}, lambda _: None)["failed"]
        == 1
    )
    assert (
        train_into_store(Job("s", store, "cpu", 1, good), [trial(7)], {}, lambda _: None)[
            "completed"
        ]
        == 1
    )
    assert good.calls == [(7,)]


def test_what_fails_only_together_loses_no_trial(store: Store) -> None:
    trainer = Trainer(1, alone=1)
    configs = [trial(seed) for seed in range(3)]
    counts = train_into_store(Job("s", store, "cpu", 1, trainer), configs, {}, lambda _: None)
    assert counts["completed"] == 3


def test_a_trainer_that_mixes_up_trials_is_not_believed(store: Store) -> None:
    def swapped(configs: Sequence[TrialConfig], device: str = "", **_: Any) -> list[Trajectory]:
        return [trajectory(c) for c in reversed(configs)]

    configs = [trial(0), trial(1)]
    counts = train_into_store(Job("s", store, "cpu", 1, swapped), configs, {})
    assert counts["completed"] == 2, "alone, each trial is itself"
    wrong = Job("s", store, "cpu", 1, lambda *_, **__: [trajectory(trial(7))])
    assert train_into_store(wrong, [trial(2), trial(3)], {})["failed"] == 2


def test_failed_rows_name_the_reason(store: Store) -> None:
    job = Job("s", store, "cpu", 1)
    table = store.read_pack(failed_rows(job, [trial(0)], "its worker died"))
    assert table["message"].to_pylist() == ["its worker died"]
    assert table["status"].to_pylist() == ["failed"]


def test_references_come_back_as_they_were_and_damaged_ones_not_at_all(store: Store) -> None:
    references = References(store)
    arrays = {"z": np.arange(6.0).reshape(2, 3), "route": np.asarray("lanczos"), "x": np.array(0.1)}
    assert references.get("k") is None
    references.put("k", arrays)
    found = references.get("k")
    assert found is not None
    assert {name: a.tolist() for name, a in found.items()} == {
        name: a.tolist() for name, a in arrays.items()
    }
    assert store.local is not None
    file = store.local / "references" / "k.npz"
    whole = file.read_bytes()
    for data in (whole[:-30], whole[:40], b"", whole[:140] + b"\xff\xff" + whole[142:]):
        file.write_bytes(data)
        assert references.get("k") is None
    np.savez(file, z=np.array([{"code": 1}], dtype=object), allow_pickle=True)
    assert references.get("k") is None


@pytest.mark.slow
def test_the_default_trainer_leaves_references_in_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.kernel.reference.KEPT_SAMPLES", 1)
    train_into_store(Job("s", store, "cpu", 1), [trial(0, steps=3, test_points=20)], {})
    assert store.local is not None
    (file,) = (store.local / "references").iterdir()
    assert References(store).get(file.stem) is not None


def test_a_worker_need_not_have_the_file_of_a_trainer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[3] / "examples/trainers/momentum.py").read_text()
    (tmp_path / "only_the_driver_has_it.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "only_the_driver_has_it:Momentum"
    small = {"steps": 5, "test_points": 32, "holdout_points": 8, "kernel": False}
    config = trial(0).changed(**trainer_fields(name), **small)
    sources = source_files([name, "descent"])
    (tmp_path / "only_the_driver_has_it.py").unlink()
    counts = train_into_store(Job("s", store, "cpu", 1), [config], {})
    assert counts["failed"] == 1
    counts = train_into_store(Job("s", store, "cpu", 1, sources=sources), [config], {})
    assert counts["completed"] == 1
