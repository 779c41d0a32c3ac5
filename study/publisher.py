"""Finished packs to the tracking server, in a thread beside the training, in batches.

Results are in the store before this hears of them, so nothing here can cost a result: when the
server cannot be reached, the study goes on and `scorerates sync` catches up later.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.results import tidy
from study.store import Ledger, Store

BATCH_PACKS = 8

_Item = tuple[str, Collection[str] | None]


class Publisher:
    """Hands packs to a tracker in the background; every method returns at once but `finish`.

    make_tracker: gives a `study.tracking.Tracker`. It is called in the thread (it loads mlflow).
    on_error: told, once, what went wrong; after that packs are dropped: the store has them.
    """

    def __init__(
        self, store: Store, make_tracker: Callable[[], Any], on_error: Callable[[str], None]
    ) -> None:
        self._store = store
        self._make_tracker = make_tracker
        self._on_error = on_error
        self._queue: queue.Queue[_Item | None] = queue.Queue()
        self._tracker: Any = None
        self._error = ""
        self._backlog: tuple[Collection[str], Ledger] | None = None
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self, trial_ids: Collection[str], ledger: Ledger) -> None:
        """Opens the tracker, and logs what the store already has of these trials and it has not."""
        self._backlog = (trial_ids, ledger)
        self._thread.start()

    def pack_done(self, pack_id: str, trial_ids: Collection[str] | None = None) -> None:
        """A pack is in the store; of its trials these are final, by default all."""
        self._queue.put((pack_id, trial_ids))

    def finish(self) -> Any:
        """Logs what is queued, then gives back the open tracker, or None after an error."""
        self._queue.put(None)
        self._thread.join()
        return None if self._error else self._tracker

    def _work(self) -> None:
        try:
            self._tracker = self._make_tracker()
            self._tracker.open()
            if self._backlog is not None:
                self._catch_up(*self._backlog)
        except Exception as error:
            self._fail(error)
        while (batch := self._next_batch()) is not None:
            if self._error:
                continue
            try:
                self._log(_chosen(self._store.read_pack(pack), ids) for pack, ids in batch)
            except Exception as error:
                self._fail(error)

    def _next_batch(self) -> list[_Item] | None:
        """The packs that wait, at least one; None when there will be no more."""
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH_PACKS:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            batch.append(following)
        return batch

    def _catch_up(self, trial_ids: Collection[str], ledger: Ledger) -> None:
        missing = [trial_id for trial_id in trial_ids if trial_id not in self._tracker.logged]
        for table in self._store.rows(missing, ledger):
            self._log([table])

    def _log(self, tables: Iterable[Any]) -> None:
        frames = [tidy(table.to_pandas()) for table in tables]
        if frames:
            self._tracker.log_trials(pd.concat(frames, ignore_index=True))

    def _fail(self, error: Exception) -> None:
        self._error = str(error) or type(error).__name__
        self._on_error(self._error)


def _chosen(table: pa.Table, trial_ids: Collection[str] | None) -> pa.Table:
    if trial_ids is None:
        return table
    return table.filter(pc.is_in(table["trial_id"], value_set=pa.array(list(trial_ids))))
