"""Ray Tune for studies whose trials depend on results: a searcher that suggests whole packs.

`study.choosing.allocation.Scheduler` says what to train next; each Tune trial is one of its packs.
Tune's own state is thrown away, as in `study.running.runner`: what is done is what the store and
Optuna hold.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune
from ray.tune.search import Searcher

from study.choosing.allocation import Batch, Scheduler, outcomes_of
from study.planning.plan import Slots
from study.running.progress import ProgressDisplay, Tally
from study.running.runner import ATTEMPTS_AFTER_A_CRASH, PackTrainable
from study.running.watch import Trouble, reason_of
from study.running.worker import Job, failed_rows
from trainers.trial import TrialConfig


def train_as_suggested(
    scheduler: Scheduler,
    job: Job,
    atoms: Mapping[str, NDArray[np.float64]],
    slots: Slots,
    display: ProgressDisplay,
    tally: Tally,
    on_change: Callable[[], None],
    check: Callable[[], None],
) -> None:
    """Trains what `scheduler` asks for until it is done. atoms: by SHA-256, the rows of the data
    files that laws refer to. `on_change` is called when a pack is stored, before `display` shows
    `tally`. check: as of `Trouble`. Raises StoreError and StorageLockedError."""
    trouble = Trouble(check)
    packs = _Packs(scheduler, job, display, tally, on_change, trouble)
    held = {key: ray.put(rows) for key, rows in atoms.items()}
    trainable = tune.with_parameters(_SuggestedPack, job=job, packs=[], atoms=held)
    with tempfile.TemporaryDirectory(prefix="scorerates-", ignore_cleanup_errors=True) as folder:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": slots.cpus, "gpu": slots.gpus}),
            tune_config=tune.TuneConfig(
                search_alg=_PackSearcher(packs, slots.workers), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=folder,
                verbose=0,
                callbacks=[_Watch(packs)],
                stop=trouble,
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS_AFTER_A_CRASH),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    trouble.raise_any()


class _SuggestedPack(PackTrainable):
    """A pack whose trials come with the Tune trial's own configuration."""

    def _work(self) -> tuple[Job, list[TrialConfig]]:
        work = json.loads(self.config["work"])
        configs = [TrialConfig.model_validate(trial) for trial in work["trials"]]
        return replace(self._job, until=work["until"]), configs


class _Packs:
    """The packs that are on their way, and what to do when one comes back."""

    def __init__(
        self,
        scheduler: Scheduler,
        job: Job,
        display: ProgressDisplay,
        tally: Tally,
        on_change: Callable[[], None],
        trouble: Trouble,
    ) -> None:
        self.scheduler, self._job, self._on_change = scheduler, job, on_change
        self._display, self._tally, self._trouble = display, tally, trouble
        self._out: dict[int, Batch] = {}
        self._given = 0

    def take(self) -> dict[str, Any] | None:
        """The configuration of the next Tune trial, or None where all wait for what is out."""
        batch = self.scheduler.next_batch()
        if batch is None:
            return None
        self._given += 1
        self._out[self._given] = batch
        trials = [config.model_dump(mode="json") for config in batch.configs]
        self.show()
        return {
            "pack": self._given,
            "work": json.dumps({"trials": trials, "until": batch.until}),
        }

    @property
    def out(self) -> int:
        """Packs on their way."""
        return len(self._out)

    def stored(self, pack: int, result: Mapping[str, Any]) -> None:
        """A pack's rows are in the store."""
        if "storage_error" in result:
            self._trouble.report(str(result["storage_error"]))
            return
        del self._out[pack]
        self._tally.measured += float(result.get("operations", 0.0))
        self._returned(str(result["pack_id"]))

    def crashed(self, pack: int, reason: str) -> None:
        """A pack's worker died, again and again: its trials are tried alone, and one that dies
        alone is stored as failed."""
        batch = self._out.pop(pack)
        if len(batch.requests) > 1:
            self.scheduler.put_back(batch)
        else:
            self._returned(failed_rows(self._job, batch.configs, reason))

    def _returned(self, pack_id: str) -> None:
        self.scheduler.came_back(outcomes_of(self._job.store.read_pack(pack_id), pack_id))
        self._on_change()
        self.show()

    def show(self) -> None:
        """Brings the display up to date."""
        self._tally.running = sum(len(batch.requests) for batch in self._out.values())
        self._display.update()


class _PackSearcher(Searcher):  # type: ignore[misc]  # ray is untyped
    """Suggests the scheduler's packs. It is told nothing by Tune: `_Watch` is, which sees more."""

    def __init__(self, packs: _Packs, workers: int) -> None:
        super().__init__(metric=None, mode=None)
        self._packs, self._workers = packs, workers

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its searcher for a restore, which never comes here.
        return (Searcher, ())

    def suggest(self, trial_id: str) -> Any:
        if self._packs.out >= self._workers:
            return None
        config = self._packs.take()
        if config is None and self._packs.scheduler.done:
            return Searcher.FINISHED
        return config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("nothing is restored from Tune: start the command again")


class _Watch(tune.Callback):  # type: ignore[misc]  # ray is untyped
    """Hands packs that came back to `_Packs`."""

    def __init__(self, packs: _Packs) -> None:
        self._packs = packs

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its callbacks for a restore, which never comes here.
        return (tune.Callback, ())

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._packs.stored(trial.config["pack"], trial.last_result)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._packs.crashed(trial.config["pack"], reason_of(trial))

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self._packs.show()
