"""What a worker does with a pack: train it, and put its rows into the store. Knows nothing of Ray.

A pack that raises is trained again trial by trial, so that one bad trial fails alone: it becomes a
row with its message, and every other trial keeps its numbers. One that ran out of memory is halved
instead: half of it may fit, and a batch costs less than its trials one by one.
"""

from __future__ import annotations

import io
import logging
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from analysis.data.schema import table_from
from study.planning.plan import pack_id_of
from study.storage.store import Store, StoreError
from trainers.kept.keep import Keep
from trainers.laws import Points
from trainers.own_files import place, place_of
from trainers.trial import Trajectory, TrialConfig, TrialStatus, failed

Atoms = Points

log = logging.getLogger(__name__)


class TrainPack(Protocol):
    """The signature of `trainers.train_pack`."""

    def __call__(
        self,
        configs: Sequence[TrialConfig],
        device: str = "auto",
        *,
        atoms: Atoms | None = None,
        threads: int | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_progress: Callable[[float], None] | None = None,
        until: int | None = None,
        keep: Keep | None = None,
    ) -> list[Trajectory]:
        """Trajectories of `configs`, in their order."""


class References:
    """A `trainers.kernel.reference.ReferenceCache` in the store, which any worker can reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays; a damaged file counts as none, and is replaced by the next `put`."""
        try:
            data = self._store.read(f"references/{key}.npz")
            if data is None:
                return None
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return dict(file)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Stores them. A storage that is full costs time, not the pack: it is only logged."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        try:
            self._store.write_bytes(f"references/{key}.npz", buffer.getvalue())
        except StoreError as error:
            log.warning("a kernel reference was not kept: %s", error)


@dataclass(frozen=True)
class Job:
    """What all packs of a run have in common. until: where to stop, and keep: which networks to
    keep, as `train_pack` takes them. sources: files of trainers and laws of your own, which workers
    need not have."""

    study: str
    store: Store
    device: str
    threads: int
    trainer: TrainPack | None = None
    until: int | None = None
    keep: Keep | None = None
    sources: tuple[tuple[str, bytes], ...] = ()


def train_into_store(
    job: Job,
    configs: Sequence[TrialConfig],
    atoms: Atoms,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Trains a pack and stores its rows; returns its id and the number of trials by status.

    Raises what the storage raises; what the trainer raises becomes rows of failed trials. A pack
    that is stored already is not trained again: its worker died after it had stored the rows.
    """
    stored = _stored(job.store, configs, job.keep)
    if stored is not None:
        return stored
    if job.sources:
        place(job.sources)
    started = time.perf_counter()
    trajectories = _trained(job, configs, atoms, on_progress)
    seconds = time.perf_counter() - started
    # The networks first: rows that name them are whole only where these are there.
    for trajectory in trajectories:
        job.store.write_networks(trajectory.networks)
    pack_id = job.store.write_pack(table_from(trajectories, job.study), seconds)
    return _counts(pack_id, (trajectory.status for trajectory in trajectories))


def _stored(
    store: Store, configs: Sequence[TrialConfig], keep: Keep | None
) -> dict[str, Any] | None:
    """What `train_into_store` returned for this very pack, if all its trials finished and their
    networks are there."""
    pack_id = pack_id_of(config.trial_id for config in configs)
    entries = store.entries(pack_id)
    if not entries or not all(entry.done(keep) for entry in entries.values()):
        return None
    networks = frozenset[str]().union(*(entry.networks for entry in entries.values()))
    if keep is not None and not networks <= store.networks().keys():
        return None
    return _counts(pack_id, (entry.status for entry in entries.values()))


def _counts(pack_id: str, statuses: Iterable[str]) -> dict[str, Any]:
    counts = Counter(map(str, statuses))
    return {"pack_id": pack_id, **{str(status): counts[status] for status in TrialStatus}}


def _trained(
    job: Job,
    configs: Sequence[TrialConfig],
    atoms: Atoms,
    on_progress: Callable[[float], None] | None,
) -> list[Trajectory]:
    trainer = job.trainer
    if trainer is None:
        # Only here, in a worker, is torch loaded.
        from trainers import train_pack

        trainer = partial(train_pack, references=References(job.store))
    if job.until is not None:
        trainer = partial(trainer, until=job.until)
    if job.keep is not None:
        trainer = partial(trainer, keep=job.keep)
    try:
        trajectories = trainer(
            configs, job.device, atoms=atoms, threads=job.threads, on_progress=on_progress
        )
        if [t.config.trial_id for t in trajectories] != [c.trial_id for c in configs]:
            raise RuntimeError("the trainer returned other trials than it was given")
        return trajectories
    except Exception as error:
        if len(configs) == 1:
            log.exception("trial %s failed", configs[0].trial_id)
            where = f" ({at})" if (at := place_of(error)) else ""
            return [failed(configs[0], f"{type(error).__name__}: {error}{where}")]
        parts = 2 if _out_of_memory(error) else len(configs)
        log.warning(
            "a pack of %d trials failed, training it in %d parts: %s", len(configs), parts, error
        )
    # Out here the error is gone, and with it what its frames held.
    size = -(-len(configs) // parts)
    groups = [configs[start : start + size] for start in range(0, len(configs), size)]
    return [t for group in groups for t in _trained(job, group, atoms, on_progress)]


def _out_of_memory(error: Exception) -> bool:
    """Whether fewer trials may succeed: MemoryError, torch's own by name (a trainer need not use
    torch), and what torch says on a CPU."""
    named = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or named or "can't allocate memory" in str(error)


def failed_rows(job: Job, configs: Sequence[TrialConfig], message: str) -> str:
    """Stores `configs` as failed; returns the pack's id."""
    return job.store.write_pack(table_from([failed(c, message) for c in configs], job.study))
