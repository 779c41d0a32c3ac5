"""Ray Tune over packs: `run(spec)`. With `study.suggest` and
`study.watch` the only module that imports ray.

One Tune trial a pack, actors reused, longest pack first. Tune orchestrates and nothing more: it
keeps no checkpoints of ours, its experiment directory is thrown away, and what is done is what the
store holds. So an interrupted run needs no restoring: the next one plans what is missing.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from rich.console import Console

from study.audits import audit_into_store
from study.interruption import Interrupted, interruptible
from study.plan import Pack, Slots, slots_of, usable_cpus
from study.problems import SpecError
from study.progress import ProgressDisplay, Tally
from study.session import RunResult, Session
from study.spec import StudySpec
from study.store import Store, StoreError
from study.watch import StopOnStorageError, Watch
from study.worker import Job, Trainer, failed_rows, train_into_store
from trainers.atoms_file import load_atoms
from trainers.trial import TrialConfig

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
REPORT_SECONDS = 1.0
CONNECT_SECONDS = 10.0
ATTEMPTS_AFTER_A_CRASH = 2
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1e9",
}


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
    store = Store(storage if storage is not None else Path("results") / spec.name)
    with store.lock(), interruptible() as interruption:
        store.claim(spec.name, spec.text, spec.folder)
        session = Session(spec, store, console, tracking_uri)
        try:
            session.begin()
            if session.missing or session.settings:
                with ray_here(address, spec) as slots:
                    interruption.install()
                    atoms = {key: ray.put(load_atoms(p)) for key, p in spec.atom_files().items()}
                    if session.missing:
                        _train(session, slots, trainer, atoms)
                    if session.settings:
                        _audit(session, slots, atoms)
        except (Interrupted, Exception):
            # Compiled code on the way (Ray's wait) may turn the one into the other.
            if not interruption.number:
                raise
        return session.end(interruption.number)


def _train(
    session: Session, slots: Slots, trainer: Trainer | None, atoms: Mapping[str, Any]
) -> None:
    """Trains the session's missing trials. A pack whose worker dies again and again is halved
    until the trial that kills it is alone; that one is stored as failed."""
    spec = session.spec
    plan = session.plan(slots)
    tally = Tally(len(session.trials), len(session.trials) - plan.trials, work=plan.cost)
    files = spec.trainer_files()
    job = Job(spec.name, session.store, slots.device, slots.cpus, trainer, sources=files)
    packs: Sequence[Pack] = plan.packs
    with ProgressDisplay(session.console, tally, plan.seconds) as display:
        watch = Watch(tally, display, session.stored)
        while packs:
            crashed = _fit(packs, job, atoms, slots, spec.resources.workers, watch)
            packs = []
            for pack, reason in crashed:
                if len(pack.trials) == 1:
                    watch.give_up(pack, failed_rows(job, pack.trials, reason))
                else:
                    packs += pack.halves()


def _audit(session: Session, slots: Slots, atoms: Mapping[str, Any]) -> None:
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
    trainable = tune.with_parameters(
        PackTrainable, job=job, packs=[ray.put(pack.trials) for pack in packs], atoms=dict(atoms)
    )
    with tempfile.TemporaryDirectory(prefix="scorerates-", ignore_cleanup_errors=True) as folder:
        tune.Tuner(
            tune.with_resources(trainable, {"cpu": slots.cpus, "gpu": slots.gpus}),
            param_space={"pack": tune.grid_search(list(range(len(packs))))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=limit),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=folder,
                verbose=0,
                callbacks=[watch],
                stop=StopOnStorageError(watch),
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS_AFTER_A_CRASH),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    if watch.storage_error:
        raise StoreError(watch.storage_error)
    return watch.crashed


@contextmanager
def ray_here(address: str | None, spec: StudySpec) -> Iterator[Slots]:
    """A Ray session, and the slots it has for packs of `spec`.

    Connects to `address` (or RAY_ADDRESS); without one, starts Ray for this run alone, or uses the
    session that the process already has. Raises SpecError where no pack fits.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    resources = spec.resources
    with _environment(), _quiet():
        if ray.is_initialized():
            yield slots_of(_nodes(), spec.device, spec.resources, growing=False)
            return
        # Sockets live in Ray's own directory, and their paths may have 107 characters at most.
        short = "/tmp" if os.path.isdir("/tmp") else None
        folder = tempfile.mkdtemp(prefix="sr-", dir=short)
        try:
            if address:
                _connect(address)
            else:
                workers = resources.workers or max(1, usable_cpus() // resources.cpus_per_pack)
                ray.init(
                    address="local",
                    num_cpus=workers * resources.cpus_per_pack,
                    num_gpus=0 if spec.device == "cpu" else None,
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    _temp_dir=folder,
                )
            yield slots_of(_nodes(), spec.device, spec.resources, growing=bool(address))
        finally:
            _leave_ray()
            shutil.rmtree(folder, ignore_errors=True)


def _leave_ray() -> None:
    """Ends the session. No collection of garbage meanwhile: one in another thread that meets a
    reference to Ray while it goes down makes Ray end the whole process."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        gc.collect()
        ray.shutdown()
    finally:
        if collecting:
            gc.enable()


def _connect(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        raise SpecError(f"address: cannot reach a Ray cluster at {address!r}: {reason}") from None


def _nodes() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _environment() -> Iterator[None]:
    """Defaults for Ray, for this run only; what the user has set stays."""
    added = [name for name in _ENVIRONMENT if name not in os.environ]
    os.environ.update({name: _ENVIRONMENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Tune's log off the terminal: what it has to say, the tally and the store say."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


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
        return self._job, ray.get(self._packs[self.config["pack"]])

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
