"""Ray Tune over packs: `run(spec)`. Besides it only `study.running.cluster`,
`study.running.suggest` and `study.running.watch` import ray.

One Tune trial a pack, actors reused, longest pack first. Tune orchestrates and nothing more: it
keeps no checkpoints of ours, its experiment directory is thrown away, and what is done is what the
store holds. So an interrupted run needs no restoring: the next one plans what is missing.
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
from rich.console import Console

from study.planning.plan import Pack, Slots
from study.running.audits import audit_into_store
from study.running.cluster import ray_here, resources_of
from study.running.interruption import Interrupted, interruptible
from study.running.progress import ProgressDisplay, Tally
from study.running.session import RunResult, Session
from study.running.watch import Trouble, Watch
from study.running.worker import Job, Trainer, failed_rows, train_into_store
from study.spec.sections import StudySpec
from study.storage.store import Store, StoreError
from trainers.problem.atoms_file import load_atoms
from trainers.trial import TrialConfig

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
REPORT_SECONDS = 1.0
ATTEMPTS_AFTER_A_CRASH = 2


def run(
    spec: StudySpec,
    storage: str | Path | None = None,
    tracking_uri: str | None = DEFAULT_TRACKING_URI,
    address: str | None = None,
    trainer: Trainer | None = None,
    console: Console | None = None,
) -> RunResult:
    """Trains what is missing of a study, then judges it.

    storage: directory or URL, by default results/<study>. tracking_uri: MLflow, None for none.
    address: a Ray cluster, `auto` for one on this machine; None starts Ray here (or uses the
    session that the process already has). trainer: instead of `trainers.train_pack`; workers must
    be able to import it.

    Raises SpecError (resources or a cluster that are not there), StoreError and
    StorageLockedError. SIGINT and SIGTERM end the run cleanly: see `RunResult.interrupted`.
    """
    console = console or Console()
    if spec.design is not None:
        from study.running.adaptive_run import run_adaptive  # it needs this module

        return run_adaptive(spec, storage, tracking_uri, address, trainer, console)
    store = Store(storage if storage is not None else Path("results") / spec.name)
    session = Session(spec, store, console, tracking_uri)
    with store.lock(session.warn) as lock, interruptible() as interruption:
        store.claim(spec.name, spec.text, spec.folder)
        try:
            session.begin()
            if session.missing or session.settings:
                with ray_here(address, spec) as slots:
                    interruption.install()
                    atoms = held_atoms(spec)
                    if session.missing:
                        _train(session, slots, trainer, atoms, lock.check)
                    if session.settings:
                        audit_settings(session, slots, atoms)
        except (Interrupted, Exception):
            # Compiled code on the way (Ray's wait) may turn the one into the other.
            if not interruption.number:
                raise
        return session.end(interruption.number)


def _train(
    session: Session,
    slots: Slots,
    trainer: Trainer | None,
    atoms: Mapping[str, Any],
    check: Callable[[], None],
) -> None:
    """Trains the session's missing trials. A pack whose worker dies again and again is halved
    until the trial that kills it is alone; that one is stored as failed. check: as of `Trouble`."""
    spec = session.spec
    plan = session.plan(slots)
    tally = Tally(len(session.trials), len(session.trials) - plan.trials, work=plan.cost)
    files = spec.trainer_files()
    job = Job(spec.name, session.store, slots.device, slots.cpus, trainer, sources=files)
    packs: Sequence[Pack] = plan.packs
    with ProgressDisplay(session.console, tally, plan.seconds) as display:
        watch = Watch(tally, display, session.stored, Trouble(check))
        while packs:
            crashed = _fit(packs, job, atoms, slots, _at_once(slots, spec), watch)
            packs = []
            for pack, reason in crashed:
                if len(pack.trials) == 1:
                    watch.give_up(pack, failed_rows(job, pack.trials, reason))
                else:
                    session.halved(len(pack.trials), ATTEMPTS_AFTER_A_CRASH + 1, reason)
                    packs += pack.halves()


def _at_once(slots: Slots, spec: StudySpec) -> int | None:
    """The most packs that may train at once; None where the cluster's room is the limit."""
    if spec.resources.workers is None:
        return None
    return spec.resources.workers + (slots.beside.workers if slots.beside else 0)


def held_atoms(spec: StudySpec) -> dict[str, Any]:
    """SHA-256 -> the rows of the data files that laws refer to, in Ray's object store."""
    return {key: ray.put(load_atoms(path)) for key, path in spec.atom_files().items()}


def audit_settings(session: Session, slots: Slots, atoms: Mapping[str, Any]) -> None:
    """Measures the assumptions of the session's settings, side by side. One that fails costs the
    report a section, never the run."""
    session.auditing()
    options = ray.remote(num_cpus=slots.cpus, max_retries=ATTEMPTS_AFTER_A_CRASH)
    measure = options(_measure_assumptions)
    held = dict(atoms)
    running = [
        (config, measure.remote(session.store, config, held, slots.cpus))
        for config in session.settings.values()
    ]
    for config, result in running:
        try:
            ray.get(result)
        except (RayError, StoreError) as error:
            reason = str(error).strip().splitlines()
            session.audit_failed(config, reason[-1] if reason else type(error).__name__)


def _measure_assumptions(
    store: Store, config: TrialConfig, atoms: Mapping[str, Any], threads: int
) -> None:
    audit_into_store(store, config, {k: ray.get(v) for k, v in atoms.items()}, threads)


def _fit(
    packs: Sequence[Pack],
    job: Job,
    atoms: Mapping[str, Any],
    slots: Slots,
    limit: int | None,
    watch: Watch,
) -> list[tuple[Pack, str]]:
    """Runs `packs` through Ray Tune; returns those whose worker died, and why."""
    watch.begin(packs)
    work = [ray.put((pack.device, pack.trials)) for pack in packs]
    trainable = tune.with_parameters(PackTrainable, job=job, packs=work, atoms=dict(atoms))
    with tempfile.TemporaryDirectory(prefix="scorerates-", ignore_cleanup_errors=True) as folder:
        tune.Tuner(
            tune.with_resources(trainable, resources_of(packs, slots)),
            param_space={"pack": tune.grid_search(list(range(len(packs))))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=limit),
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
    return watch.crashed


class PackTrainable(tune.Trainable):  # type: ignore[misc]  # ray is untyped
    """Trains one pack in a thread; each step waits for it a moment and reports how far it is."""

    def setup(self, config: dict[str, Any], *, job: Job, packs: list[Any], atoms: Any) -> None:
        self._job, self._packs = job, packs
        self._atoms = {key: ray.get(rows) for key, rows in atoms.items()}
        self._thread: threading.Thread | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._thread = None
        return True

    def _start(self) -> threading.Thread:
        # Not in setup: Tune makes actors ahead of time, and may hand them another pack first.
        job, configs = self._work()
        self._operations = 0.0
        self._counts: dict[str, Any] = {}
        self._error: BaseException | None = None
        # Daemon: an actor that is told to stop must not wait for the pack.
        thread = threading.Thread(target=self._train, args=(job, configs), daemon=True)
        thread.start()
        return thread

    def _work(self) -> tuple[Job, Sequence[TrialConfig]]:
        device, configs = ray.get(self._packs[self.config["pack"]])
        return replace(self._job, device=device), configs

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
        return {"operations": self._operations, "done": done, **(self._counts if done else {})}
