"""Ray Tune over the packs of a scheduler. Besides it only `study.running.cluster` and
`study.running.watch` import ray.

One Tune trial a pack, actors reused. A searcher suggests packs as long as the scheduler has some;
they are with it again when they are stored. Tune orchestrates and nothing more: it keeps no
checkpoints of ours, its experiment directory is thrown away, and what is done is what the store
(and Optuna's database, of a search) holds. So an interrupted run needs no restoring: the next one
asks for what is missing.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.search import Searcher

from study.planning.concluding import Wanted
from study.planning.plan import Slots
from study.running.audits import audit_into_store, audits_at_once
from study.running.cluster import resources_on
from study.running.compiling import Compiling
from study.running.watch import Watch, unpacked
from study.running.worker import Job, train_into_store
from study.spec.sections import StudySpec
from study.storage.store import Store, StoreError
from trainers.laws import checked_data
from trainers.own_files import place
from trainers.trial import TrialConfig

REPORT_SECONDS = 1.0
ATTEMPTS_AFTER_A_CRASH = 2
LEAST_AT_ONCE = 200
"""Packs that may wait for room where `resources.workers` does not say: they tell a cluster that may
add nodes how many it needs."""


def train(
    job: Job, atoms: Mapping[str, Any], slots: Slots, workers: int | None, watch: Watch
) -> None:
    """Trains what the scheduler of `watch` hands out, until it is done.

    atoms: from `held_atoms`. workers: packs at once on the first kind of `slots`, by default as
    many as there is room for. Raises StoreError and StorageLockedError.
    """
    searcher = _PackSearcher(watch, slots, workers)
    trainable = tune.with_parameters(PackTrainable, job=job, atoms=dict(atoms))
    with tempfile.TemporaryDirectory(prefix="scorerates-", ignore_cleanup_errors=True) as folder:
        tune.Tuner(
            tune.with_resources(trainable, resources_on(slots)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=searcher.most,
            ),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=folder,
                verbose=0,
                callbacks=[watch],
                stop=watch.trouble,
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS_AFTER_A_CRASH),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    watch.trouble.raise_any()
    watch.show()  # what the last packs led to


class _PackSearcher(Searcher):  # type: ignore[misc]  # ray is untyped
    """Suggests the scheduler's packs. It is told nothing by Tune: `Watch` is, which sees more.

    most: packs that may be on their way at once, on all kinds of slots.
    """

    def __init__(self, watch: Watch, slots: Slots, workers: int | None) -> None:
        super().__init__(metric=None, mode=None)
        self._watch = watch
        self._workers = {kind.device: kind.workers for kind in slots.kinds}
        if workers is None:
            self._most = dict.fromkeys(self._workers, max(LEAST_AT_ONCE, *self._workers.values()))
        else:
            self._most = {**self._workers, slots.device: workers}
        self.most = sum(self._most.values())

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # Tune pickles its searcher for a restore, which never comes here.
        return (Searcher, ())

    def suggest(self, trial_id: str) -> Any:
        out = self._watch.out
        # Those that have least to do go first.
        for device in sorted(self._most, key=lambda device: out(device) / self._workers[device]):
            if out(device) < self._most[device]:
                config = self._watch.take(device)
                if config is not None:
                    return config
        return Searcher.FINISHED if self._watch.scheduler.done else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("nothing is restored from Tune: start the command again")


class PackTrainable(tune.Trainable):  # type: ignore[misc]  # ray is untyped
    """Trains one pack in a thread; each step waits for it a moment and reports how far it is."""

    def setup(self, config: dict[str, Any], *, job: Job, atoms: Any) -> None:
        self._job = job
        self._atoms = _checked(atoms)
        self._compiling = Compiling()
        self._thread: threading.Thread | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._thread = None
        return True

    def _start(self) -> threading.Thread:
        # Not in setup: Tune makes actors ahead of time, and may hand them another pack first.
        trials, until = unpacked(self.config["work"])
        job = replace(self._job, device=self.config["device"], until=until)
        self._operations = 0.0
        self._counts: dict[str, Any] = {}
        self._error: BaseException | None = None
        # Daemon: an actor that is told to stop must not wait for the pack.
        thread = threading.Thread(target=self._train, args=(job, trials), daemon=True)
        thread.start()
        return thread

    def _train(self, job: Job, configs: Sequence[TrialConfig]) -> None:
        try:
            self._counts = train_into_store(job, configs, self._atoms, self._add)
        except StoreError as error:
            self._counts = {"storage_error": str(error)}
        except BaseException as error:
            self._error = error

    def _add(self, operations: float) -> None:
        self._operations += operations

    def step(self) -> dict[str, Any]:
        self._thread = self._thread or self._start()
        self._thread.join(REPORT_SECONDS)
        done = not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        told = {"operations": self._operations, "compiling": self._compiling(), "done": done}
        return {**told, **(self._counts if done else {})}


def held_atoms(spec: StudySpec) -> dict[str, Any]:
    """SHA-256 -> the bytes of the data files that laws refer to, in Ray's object store: those that
    were read with the study, whatever the files hold by now."""
    return {sha256: ray.put(file.data) for sha256, file in spec.atoms().items()}


def _checked(atoms: Mapping[str, Any]) -> dict[str, Any]:
    """`Points`, in a worker: of bytes that have this SHA-256, or LawError."""
    return {
        key: checked_data(ray.get(data), key, "what this worker was handed")
        for key, data in atoms.items()
    }


def audit_settings(
    store: Store,
    settings: Mapping[str, Wanted],
    slots: Slots,
    atoms: Mapping[str, Any],
    tell: Callable[[int], None] = lambda done: None,
    sources: tuple[tuple[str, bytes], ...] = (),
) -> list[tuple[TrialConfig, str]]:
    """Measures the assumptions of `settings`, as many side by side as memory allows; returns those
    that failed, and why. tell: is told how many ended, after each.
    sources: files of laws of your own, as of a `Job`."""
    options = ray.remote(num_cpus=slots.cpus, max_retries=ATTEMPTS_AFTER_A_CRASH)
    measure = options(_measure_assumptions)
    held, wanted = dict(atoms), list(settings.values())
    at_once = audits_at_once(slots, max((one.samples for one in wanted), default=1))
    failed, ended = [], 0
    for start in range(0, len(wanted), at_once):
        batch = wanted[start : start + at_once]
        running = [(one, measure.remote(store, one, held, slots.cpus, sources)) for one in batch]
        for one, result in running:
            try:
                ray.get(result)
            except (RayError, StoreError) as error:
                reason = str(error).strip().splitlines()
                failed.append((one.config, reason[-1] if reason else type(error).__name__))
            ended += 1
            tell(ended)
    return failed


def _measure_assumptions(
    store: Store,
    wanted: Wanted,
    atoms: Mapping[str, Any],
    threads: int,
    sources: tuple[tuple[str, bytes], ...],
) -> None:
    if sources:
        place(sources)
    audit_into_store(store, wanted, _checked(atoms), threads)
