"""What Ray Tune reports: packs that are stored, packs whose worker died; and when it stops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune

from study.planning.plan import Pack
from study.running.progress import ProgressDisplay, Tally
from study.storage.lock import StorageLockedError
from study.storage.store import StoreError


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
    """Keeps the tally, announces stored packs, and collects the packs whose worker died."""

    def __init__(
        self,
        tally: Tally,
        display: ProgressDisplay,
        stored: Callable[[str], None],
        trouble: Trouble,
    ) -> None:
        self.crashed: list[tuple[Pack, str]] = []
        self.trouble = trouble
        self._packs: Sequence[Pack] = ()
        self._tally, self._display, self._stored = tally, display, stored
        self._running: dict[int, float] = {}
        self._work, self._measured = tally.work_done, tally.measured

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its callbacks for a restore, which never comes here.
        return (tune.Callback, ())

    def begin(self, packs: Sequence[Pack]) -> None:
        """What follows is about these packs."""
        self._packs = packs
        self._running = {}
        self.crashed = []

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._running[trial.config["pack"]] = 0.0
        self._show()

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        self._running[trial.config["pack"]] = float(result["operations"])
        self._show()

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        index = trial.config["pack"]
        result = trial.last_result
        if "storage_error" in result:
            self.trouble.report(result["storage_error"])
            return
        self._measured += self._running.pop(index, 0.0)
        self._finish(self._packs[index], result)
        self._stored(result["pack_id"])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        index = trial.config["pack"]
        self._running.pop(index, None)
        self.crashed.append((self._packs[index], reason_of(trial)))
        self._show()

    def give_up(self, pack: Pack, pack_id: str) -> None:
        """Counts the trials of `pack`, stored under `pack_id`, as failed."""
        self._finish(pack, {"failed": len(pack.trials)})
        self._stored(pack_id)

    def _finish(self, pack: Pack, counts: Mapping[str, Any]) -> None:
        self._work += pack.cost
        self._tally.done += len(pack.trials)
        self._tally.failed += counts.get("failed", 0)
        self._tally.diverged += counts.get("diverged", 0)
        self._show()

    def _show(self) -> None:
        running = [(self._packs[index], done) for index, done in self._running.items()]
        self._tally.running = sum(len(pack.trials) for pack, _ in running)
        self._tally.measured = self._measured + sum(done for _, done in running)
        self._tally.work_done = self._work + sum(_share(p, done) * p.cost for p, done in running)
        self._display.update()


def _share(pack: Pack, operations: float) -> float:
    total = sum(trial.training_operations for trial in pack.trials)
    return min(operations / total, 1.0) if total else 0.0


def reason_of(trial: Any) -> str:
    """Why a Tune trial ended: the last line of its error that says something."""
    try:
        lines = Path(trial.error_file).read_text().strip().splitlines()
    except (OSError, TypeError):
        return "its worker process died"
    return lines[-1].strip()[:500] if lines else "its worker process died"
