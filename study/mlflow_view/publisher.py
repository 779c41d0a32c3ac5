"""Finished packs to the tracking server, in a thread beside the training, in batches.

Results are in the store before this hears of them, so nothing here can cost a result. While the
server cannot be reached, packs wait; when it answers again, a new tracker looks what is there, so
that nothing is logged twice. What still waits at the end, `scorerates sync` logs later.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.data.results import tidy
from study.storage.store import Store, filled

BATCH_PACKS = 8
RETRY_SECONDS = 30.0
"""How long a server that failed is left alone."""

SYSTEM_SECONDS = 15.0
"""How often what the machine is doing is logged, at most."""

_Item = tuple[str, Collection[str]]


class Publisher:
    """Hands packs to a tracker in the background; every method returns at once but `finish`.

    make_tracker: gives a `study.mlflow_view.tracking.Tracker`. It is called in the thread (it loads
    mlflow), and again after every failure. on_error: told what went wrong, once until it works
    again. known: values, by column, of trials whose packs are older than the column.
    """

    def __init__(
        self,
        store: Store,
        make_tracker: Callable[[], Any],
        on_error: Callable[[str], None],
        known: Mapping[str, float] | None = None,
    ) -> None:
        self._store, self._known = store, known or {}
        self._make_tracker = make_tracker
        self._on_error = on_error
        self._queue: queue.Queue[_Item | None] = queue.Queue()
        self._waiting: list[_Item] = []
        self._tracker: Any = None
        self._failed_at: float | None = None
        self._watched_at = -SYSTEM_SECONDS
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        """Opens the tracker."""
        self._thread.start()

    def pack_done(self, pack_id: str, trial_ids: Collection[str]) -> None:
        """These trials of a stored pack are final. Those that are logged already are left out."""
        self._queue.put((pack_id, trial_ids))

    def finish(self) -> Any:
        """Logs what waits, then gives back the open tracker, or None where that failed."""
        self._queue.put(None)
        self._thread.join()
        return self._tracker

    def _work(self) -> None:
        self._log_waiting()
        while (batch := self._next_batch()) is not None:
            self._waiting += batch
            if self._failed_at is None or time.monotonic() - self._failed_at >= RETRY_SECONDS:
                self._log_waiting()
        if self._failed_at is not None:
            self._log_waiting()

    def _log_waiting(self) -> None:
        """Logs the packs that wait, and now and then what the machine is doing."""
        try:
            if self._tracker is None:
                tracker = self._make_tracker()
                tracker.open()
                self._tracker = tracker
            while self._waiting:
                self._log(self._waiting[:BATCH_PACKS])
                del self._waiting[:BATCH_PACKS]
            if time.monotonic() - self._watched_at >= SYSTEM_SECONDS:
                self._watched_at = time.monotonic()
                self._tracker.log_system()
        except Exception as error:
            # Whether the last call did its work is not known: the next tracker looks.
            self._tracker = None
            if self._failed_at is None:
                self._on_error(str(error) or type(error).__name__)
            self._failed_at = time.monotonic()
        else:
            self._failed_at = None

    def _next_batch(self) -> list[_Item] | None:
        """The packs that wait, none where it took SYSTEM_SECONDS; None when there will be no
        more."""
        try:
            first = self._queue.get(timeout=SYSTEM_SECONDS)
        except queue.Empty:
            return []
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

    def _log(self, items: Sequence[_Item]) -> None:
        frames = []
        for pack_id, trial_ids in items:
            missing = [i for i in trial_ids if i not in self._tracker.logged]
            if missing:
                table = self._store.read_pack(pack_id)
                rows = table.filter(pc.is_in(table["trial_id"], value_set=pa.array(missing)))
                frames.append(tidy(filled(rows, self._known).to_pandas()))
        if frames:
            self._tracker.log_trials(pd.concat(frames, ignore_index=True))
