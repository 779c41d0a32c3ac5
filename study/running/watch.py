"""Between the scheduler and Ray Tune: packs on their way, packs that are stored, packs whose worker
died; and when it stops."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from study.running.progress import ProgressDisplay, Tally
from study.running.scheduler import Scheduler, Work
from study.running.worker import Job, failed_rows
from study.storage.lock import StorageLockedError
from study.storage.store import StoreError
from trainers.trial import TrialConfig


class Trouble(tune.Stopper):  # type: ignore[misc]  # ray is untyped
    """Why no pack can be stored any more; Tune stops them all once there is a reason. Raised from a
    callback, it would count as a failure of the pack, which Tune tries again.

    check: raises StorageLockedError where another driver has taken over the storage.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._error: StoreError | StorageLockedError | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its stopper for a restore, which never comes here.
        return (type(self), ())

    def report(self, message: str) -> None:
        """The storage refused a pack, with this message."""
        self._error = self._error or StoreError(message)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Whether the run is over."""
        if self._error is None:
            try:
                self._check()
            except StorageLockedError as error:
                self._error = error
        return self._error is not None

    def raise_any(self) -> None:
        """Raises what there is to raise."""
        if self._error is not None:
            raise self._error


class Watch(tune.Callback):  # type: ignore[misc]  # ray is untyped
    """Takes packs from the scheduler, brings them back when they are stored, and keeps the tally.

    A pack whose worker dies again and again is halved until the trial that kills it is alone; that
    one is stored as failed. count: how many trials are done, and of how many. on_halving: told the
    number of trials of such a pack, and why its worker died.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        job: Job,
        display: ProgressDisplay,
        tally: Tally,
        trouble: Trouble,
        count: Callable[[], tuple[int, int]],
        on_halving: Callable[[int, str], None],
    ) -> None:
        self.scheduler, self.trouble = scheduler, trouble
        self._job, self._display, self._tally = job, display, tally
        self._count, self._on_halving = count, on_halving
        self._given = 0
        self._out: dict[int, Work] = {}
        self._running: dict[int, float] = {}  # operations done
        self._compiling: set[int] = set()
        self._work = self._measured = 0.0
        self.show()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its callbacks for a restore, which never comes here.
        return (tune.Callback, ())

    def out(self, device: str) -> int:
        """Packs on their way to a device, or there."""
        return sum(work.pack.device == device for work in self._out.values())

    def take(self, device: str) -> dict[str, Any] | None:
        """The configuration of the next Tune trial on a device, or None where all wait for what is
        out. Raises StoreError."""
        work = self.scheduler.next_work(device)
        if work is None:
            return None
        self._given += 1
        self._out[self._given] = work
        return {"pack": self._given, "device": device, "work": packed(work)}

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._running[trial.config["pack"]] = 0.0
        self.show()

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        number = trial.config["pack"]
        self._running[number] = float(result["operations"])
        (self._compiling.add if result["compiling"] else self._compiling.discard)(number)
        self.show()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        number, result = trial.config["pack"], trial.last_result
        if "storage_error" in result:
            self.trouble.report(result["storage_error"])
            return
        self._measured += self._running.pop(number, 0.0)
        self._finish(self._out.pop(number), result["pack_id"], result)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        number, reason = trial.config["pack"], reason_of(trial)
        self._running.pop(number, None)
        work = self._out.pop(number)
        if len(work.trials) > 1:
            self._on_halving(len(work.trials), reason)
            self.scheduler.put_back(work.halves())
            self.show()
            return
        try:
            pack_id = failed_rows(self._job, work.trials, reason)
        except StoreError as error:
            self.trouble.report(str(error))
            return
        self._finish(work, pack_id, {"failed": 1})

    def _finish(self, work: Work, pack_id: str, counts: Mapping[str, Any]) -> None:
        self._work += work.pack.cost
        self._tally.failed += counts.get("failed", 0)
        self._tally.diverged += counts.get("diverged", 0)
        self.scheduler.came_back(work, pack_id)
        self.show()

    def show(self) -> None:
        """Brings the tally and its display up to date."""
        tally = self._tally
        running = [(self._out[number], done) for number, done in self._running.items()]
        tally.running = sum(len(work.trials) for work, _ in running)
        tally.compiling = len(self._compiling & self._running.keys())
        tally.measured = self._measured + sum(done for _, done in running)
        tally.done, tally.total = self._count()
        if self.scheduler.asks_once:
            going = sum(_share(work, done) * work.pack.cost for work, done in running)
            tally.work_done = self._work + going
        else:  # how long what follows will take is not known
            tally.work, tally.work_done = float(tally.total), float(tally.done)
        self._display.update()


def _share(work: Work, operations: float) -> float:
    total = work.operations()
    return min(operations / total, 1.0) if total else 0.0


def packed(work: Work) -> str:
    """The trials of a pack, and where they stop, as text for a Tune trial's configuration."""
    plain = {"trials": [t.model_dump(mode="json") for t in work.trials], "until": work.until}
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(plain).encode())).decode()


def unpacked(text: str) -> tuple[list[TrialConfig], int | None]:
    """What `packed` made a text of."""
    plain = json.loads(zlib.decompress(base64.urlsafe_b64decode(text)))
    return [TrialConfig.model_validate(trial) for trial in plain["trials"]], plain["until"]


def reason_of(trial: Any) -> str:
    """Why a Tune trial ended: the last line of its error that says something."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return "its worker process died"
    lines = text.strip().splitlines()
    return lines[-1].strip()[:500] if lines else "its worker process died"
