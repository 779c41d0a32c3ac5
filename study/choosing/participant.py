"""Who asks for trials: a grid, a design, a search.

A **participant** asks for trials in stages: when all that it asked for is there, it is called
again, and asks for more or is done. A grid asks once. A result that the store has already is never
trained again, so a participant that starts over after a kill asks for the same things and runs
through what is there.

`study.running.scheduler` packs what participants ask for and gives them what comes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.storage.store import CorruptPackError, Entry, Store, StoreError
from trainers.trial import TrialConfig, TrialStatus

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Request:
    """A trial, to be trained to its last step, or to the recorded step `until`."""

    config: TrialConfig
    until: int | None = None

    @property
    def last_step(self) -> int:
        """The step that it trains to."""
        return self.config.steps if self.until is None else self.until


@dataclass(frozen=True)
class Outcome:
    """What became of a trial so far. Columns [R], by recorded step; NaN where not measured.

    `operations`: of the training, to the last of the steps.
    """

    status: str
    steps: NDArray[np.int64]
    series: Mapping[str, Array]
    values: Mapping[str, float]
    operations: float

    def answers(self, request: Request) -> bool:
        """Whether this is all that `request` asks for: nothing more would come of training."""
        if self.status != TrialStatus.PRUNED:
            return True
        return int(self.steps[-1]) >= request.last_step


class Participant(ABC):
    """Something that asks for trials: a grid, a design, a search, a theory-guided choice, finals.

    asks_once: whether it asks for all of its trials at the first call. after: participants that it
    waits for: it is asked when they are done.
    """

    asks_once = False
    after: Sequence[Participant] = ()

    @abstractmethod
    def advance(self, outcomes: Mapping[str, Outcome]) -> Sequence[Request]:
        """What it needs next, given the outcomes by trial id; empty where it is done. Called when
        everything that it asked for before has its outcome."""

    def finished_trials(self) -> Collection[str]:
        """Ids of the trials that it will not ask for again, beside those that ran to their last
        step."""
        return ()


SERIES = ("score_error", "holdout_loss", "train_loss", "kernel_complexity", "coupling")
VALUES = ("noise_variance", "largest_step_size", "operations")


def outcomes_of(table: pa.Table) -> dict[str, Outcome]:
    """Trial id -> outcome, of rows of the results table."""
    frame = table.to_pandas()
    outcomes = {}
    for trial_id, rows in frame.groupby("trial_id", sort=False):
        rows = rows.sort_values("step")
        first = rows.iloc[0]
        values = {n: float(first[n]) for n in VALUES if first[n] is not None}
        outcomes[str(trial_id)] = Outcome(
            str(first["status"]),
            rows["step"].to_numpy(dtype=np.int64),
            {n: rows[n].to_numpy(dtype=float, na_value=np.nan) for n in SERIES},
            values,
            values.get("operations", 0.0),
        )
    return outcomes


class Outcomes(Mapping[str, Outcome]):
    """Trial id -> outcome of what is stored, read when somebody looks: a grid of 100,000 trials
    never does.

    entries: those of the store's ledger that count as answers. Reading raises StoreError.
    """

    def __init__(self, store: Store, entries: Mapping[str, Entry]) -> None:
        self._store = store
        self._packs = {trial_id: entry.pack_id for trial_id, entry in entries.items()}
        self._begun = {i for i, entry in entries.items() if entry.status == TrialStatus.PRUNED}
        self._read: dict[str, dict[str, Outcome]] = {}

    def __getitem__(self, trial_id: str) -> Outcome:
        pack_id = self._packs[trial_id]
        if pack_id not in self._read:
            try:
                table = self._store.read_pack(pack_id)
            except FileNotFoundError:
                raise lost(self._store, 1) from None
            except CorruptPackError as error:
                raise StoreError(
                    f"{self._store.place}/trials/{pack_id}.parquet was damaged just now ({error}): "
                    "run the same command again, which trains its trials anew"
                ) from None
            self._read[pack_id] = outcomes_of(table)
        return self._read[pack_id][trial_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._packs)

    def __len__(self) -> int:
        return len(self._packs)

    def pack_of(self, trial_id: str) -> str | None:
        """The pack that holds the trial's rows; None where none does: of a search, whose database
        outlives a damaged pack."""
        return self._packs.get(trial_id)

    def answer(self, request: Request) -> bool:
        """Whether all that `request` asks for is there."""
        trial_id = request.config.trial_id
        if trial_id not in self._packs:
            return False
        return trial_id not in self._begun or self[trial_id].answers(request)

    def came_back(self, trial_ids: Iterable[str], pack_id: str, until: int | None) -> None:
        """These trials are stored, as this pack, trained to the step `until` or to their last."""
        self._read.pop(pack_id, None)  # the same trials, trained further, are the same pack
        for trial_id in trial_ids:
            self._packs[trial_id] = pack_id
            if until is None:
                self._begun.discard(trial_id)
            else:
                self._begun.add(trial_id)


def lost(store: Store, count: int) -> StoreError:
    """The error where so many trials came back from workers and are not in the store."""
    return StoreError(
        f"{count} trials were trained but are not in {store.place}: on a cluster, --storage must "
        "be a shared directory or an object store"
    )
