"""Ray Tune over packs: `run(spec)`. With `study.suggest` the only module that imports ray.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    if spec.design is not None:
        from study.adaptive_run import run_adaptive  # it needs this module

        return run_adaptive(spec, storage, tracking_uri, address, trainer, console)
    store = Store(storage if storage is not None else Path("results") / spec.name)
    with store.lock(), interruptible() as interruption:
        store.claim(spec.name, spec.text, spec.folder)
        session = Session(spec, store, console, tracking_uri)
        try:
            session.begin()
            if session.missing or session.settings:
                with ray_here(address, spec) as slots:
                    interruption.install()
                    atoms = held_atoms(spec)
                    if session.missing:
                        _train(session, slots, trainer, atoms)
                    if session.settings:
                        audit_settings(session, slots, atoms)
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
        watch = _Watch(tally, display, session.stored)
        while packs:
            crashed = _fit(packs, job, atoms, slots, spec.resources.workers, watch)
            packs = []
            for pack, reason in crashed:
                if len(pack.trials) == 1:
                    watch.give_up(pack, failed_rows(job, pack.trials, reason))
                else:
                    packs += pack.halves()


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
    watch: _Watch,
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
                failure_config=tune.FailureConfig(max_failures=ATTEMPTS_AFTER_A_CRASH),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
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


class _Watch(tune.Callback):  # type: ignore[misc]  # ray is untyped
    """Keeps the tally, announces stored packs, and collects the packs whose worker died."""

    def __init__(
        self,
        tally: Tally,
        display: ProgressDisplay,
        stored: Callable[[str], None],
    ) -> None:
        self.crashed: list[tuple[Pack, str]] = []
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
            raise StoreError(result["storage_error"])
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
