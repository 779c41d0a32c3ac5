"""One `run` or `search` of a study: it begins, trains what participants ask for, and ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from analysis.text import counted
from analysis.theory.record import record
from study.choosing.participant import Outcomes, Participant
from study.mlflow_view.publisher import Publisher
from study.planning.asked import widths_without_a_curve
from study.planning.calibration import speeds_of
from study.planning.cards import share_of_a_card
from study.planning.concluding import Wanted, page_seconds
from study.planning.cost import Speeds
from study.planning.own_laws import check_own_laws
from study.planning.plan import Slots
from study.running import engine
from study.running.audits import missing_audits, seconds_of_audits
from study.running.cluster import check_stays, ray_here
from study.running.interruption import Interrupted, Interruption, interruptible
from study.running.packing import Packing, packing_for
from study.running.progress import ProgressDisplay, Tally, duration_text
from study.running.scheduler import Scheduler
from study.running.watch import Trouble, Watch
from study.running.worker import Job, TrainPack
from study.spec.sections import StudySpec
from study.storage.earlier import changed_trainers, check_kind
from study.storage.lock import StorageLock
from study.storage.store import Ledger, Store
from study.terminal import say
from trainers.errors import UserError
from trainers.trial import TrialConfig

if TYPE_CHECKING:
    from analysis.verdicts.evaluation import Evaluation

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"

Count = Callable[[], tuple[int, int]]


@contextmanager
def session_on(
    spec: StudySpec, store: Store, tracking_uri: str | None, console: Console
) -> Iterator[Session]:
    """A session on a store that it locks and claims. Raises SpecError for one that will not stay,
    or a law of the user's own that is not what it says,
    StoreError and StorageLockedError."""
    check_stays(store.local, spec.name)
    check_own_laws(spec.points())
    session = Session(spec, store, tracking_uri, console)
    with store.lock(session.warn) as session.lock, interruptible() as session.interruption:
        check_kind(spec, store)
        for changed in changed_trainers(spec, store):
            session.warn(f"note: {changed}")
        contents = spec.contents().model_dump(mode="json")
        store.claim(spec.name, spec.text, spec.folder, contents)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        store.register({**record(spec.theories), "written": now})
        try:
            yield session
        except Exception as error:
            # Compiled code on the way (of figures, say) may have turned the signal into this.
            if session.signal and not isinstance(error, UserError):
                raise Interrupted(session.signal) from error
            raise


class Session:
    """See the module. ledger: what the store held at the beginning. seconds: how long workers
    trained, start-up included."""

    lock: StorageLock
    interruption: Interruption

    def __init__(
        self, spec: StudySpec, store: Store, tracking_uri: str | None, console: Console
    ) -> None:
        self.spec, self.store, self.console = spec, store, console
        self.ledger = Ledger()
        self._tracking_uri = tracking_uri
        self._publisher: Publisher | None = None
        self._settings: dict[str, Wanted] = {}
        self._began = self._ended = 0.0

    @property
    def signal(self) -> int:
        """The number of the signal that interrupted it, or 0."""
        return self.interruption.number

    @property
    def seconds(self) -> float:
        """From the beginning of the training to the last pack that was stored."""
        return self._ended - self._began

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """What is inside ends early, and without an error, where a signal comes."""
        try:
            yield
        except (Interrupted, Exception):
            # Compiled code on the way (Ray's wait) may turn the one into the other.
            if not self.signal:
                raise

    def begin(self, audited: Iterable[TrialConfig] = ()) -> None:
        """Reads what is there, and opens MLflow. audited: trials whose settings want an audit."""
        for problem in (*self.spec.unseen_imports(), *widths_without_a_curve(self.spec)):
            self.warn(f"warning: {problem}")
        self.ledger = self.store.ledger(repair=True)
        for name in self.ledger.corrupt:
            self.warn(
                f"warning: {name} was damaged; moved aside to {name}.corrupt, its trials are "
                f"trained again{'' if name.endswith('.parquet') else ' if the study keeps them'}"
            )
        if self.spec.audit:
            self._settings = missing_audits(self.store, audited, self.spec.audit_points)
        if self._tracking_uri is not None:
            make_tracker = partial(self._tracker, self._tracking_uri)
            known = self.spec.diffusion.ends
            publisher = Publisher(self.store, make_tracker, self._untracked, known)
            publisher.start()
            self._publisher = publisher

    def train(
        self,
        participants: Sequence[Participant],
        outcomes: Outcomes,
        address: str | None,
        trainer: TrainPack | None,
        count: Count | None = None,
        foresee: Callable[[Packing], str] | None = None,
    ) -> None:
        """Trains what `participants` ask for until they are done, then measures the assumptions.

        outcomes: what counts as done. address, trainer: as of `study.run`. count: how many trials
        are done, and of how many; by default those asked for so far. foresee: a line on how long
        all will take, of participants that do not ask for all at once.
        """
        scheduler = Scheduler(participants, outcomes, self._final)
        count = count or (lambda: (scheduler.final, len(scheduler.asked)))
        idle = scheduler.idle()
        done, total = count()
        if idle:
            self.say(f"all {done} trials are done, nothing to train")
        elif done:
            self.say(f"{done} of {total} trials are done, {total - done} to train")
        if idle and not self._settings:
            return
        share = partial(share_of_a_card, scheduler.asked.values())
        with ray_here(address, self.spec, share) as slots:
            self.interruption.install()
            atoms = engine.held_atoms(self.spec)
            if not idle:
                self._train(scheduler, slots, atoms, trainer, count, foresee)
            if self._settings:
                self._audit(slots, atoms)

    def _train(
        self,
        scheduler: Scheduler,
        slots: Slots,
        atoms: Any,
        trainer: TrainPack | None,
        count: Count,
        foresee: Callable[[Packing], str] | None,
    ) -> None:
        spec = self.spec
        speeds = speeds_of(slots, calibrate=False)
        packing = packing_for(slots, spec, scheduler.asked.values(), self.ledger, speeds)
        plan = scheduler.on(packing)
        once = scheduler.asks_once
        how_long = "to begin with"
        if once:
            after = self._seconds_after(scheduler.asked.values(), slots, speeds)
            how_long = f"about {duration_text(plan.seconds)}, and {duration_text(after)} after them"
        many = f"{counted(plan.trials, 'trial')} in {counted(len(plan.packs), 'pack')}"
        self.say(f"{many}, {slots.text}, {how_long}")
        if foresee is not None:
            self.say(foresee(packing))
        files = spec.own_files()
        device, kept = slots.device, spec.kept()
        job = Job(spec.name, self.store, device, slots.cpus, trainer, keep=kept, sources=files)
        tally = Tally(0, work=plan.cost)
        self._began = time.monotonic()
        with ProgressDisplay(self.console, tally, plan.seconds if once else 0.0) as display:
            trouble = Trouble(self.lock.check)
            watch = Watch(scheduler, job, display, tally, trouble, count, self._halved)
            engine.train(job, atoms, slots, spec.resources.workers, watch)

    def _seconds_after(
        self, trials: Collection[TrialConfig], slots: Slots, speeds: Speeds
    ) -> float:
        """Of the audits that are missing, the verdicts and the page."""
        audits = self._settings.values()
        return seconds_of_audits(audits, slots, speeds) + page_seconds(trials)

    def _final(self, pack_id: str, trial_ids: list[str]) -> None:
        """These trials of a pack are as they will stay: on to MLflow."""
        self._ended = time.monotonic()
        if self._publisher:
            self._publisher.pack_done(pack_id, trial_ids)

    def _halved(self, trials: int, reason: str) -> None:
        attempts = engine.ATTEMPTS_AFTER_A_CRASH + 1
        self.warn(
            f"warning: a pack of {trials} trials lost its worker in {attempts} of {attempts} "
            f"attempts ({reason}); its halves are tried next"
        )

    def _audit(self, slots: Slots, atoms: Any) -> None:
        """Measures the theory's assumptions. A setting that fails costs the report a section, never
        the run."""
        brief = sum(one.brief for one in self._settings.values())
        whole = len(self._settings) - brief
        draws = f"the kernel's spectrum on {counted(brief, 'more draw')} of a law" if brief else ""
        every = f"the theory's assumptions in {counted(whole, 'setting')}" if whole else ""
        self.say(f"measuring {' and '.join(filter(None, (every, draws)))}")

        def tell(ended: int) -> None:
            if whole > 1 and ended <= whole:
                self.say(f"  {ended} of {whole} settings measured")
            elif ended > whole and (ended - whole) % 10 == 0:
                self.say(f"  {ended - whole} of {brief} spectra measured")

        for config, reason in engine.audit_settings(
            self.store, self._settings, slots, atoms, tell, self.spec.own_files()
        ):
            self.warn(
                f"warning: the audit of {config.law.label} failed: {reason}; "
                "running the same command tries again"
            )

    def end(
        self,
        status: str,
        folder: Path | None = None,
        evaluation: Evaluation | None = None,
    ) -> None:
        """Brings MLflow up to date and closes it with `status`, after the study's own files and
        what they say, where there are any."""
        tracker = self._publisher.finish() if self._publisher else None
        if tracker is None:
            return
        try:
            if folder is not None and evaluation is not None:
                tracker.log_study(folder, evaluation)
            tracker.close(status)
        except Exception as error:  # the results are safe: a view of them must not fail the run
            self._untracked(str(error) or type(error).__name__)

    def _tracker(self, uri: str) -> Any:
        from study.mlflow_view.tracking import tracker_of

        return tracker_of(self.spec, uri, self.store.read)

    def _untracked(self, message: str) -> None:
        self.warn(
            f"warning: the study goes on without MLflow, `scorerates sync` catches up: {message}"
        )

    def say(self, message: str) -> None:
        """A line for the user."""
        say(self.console, message)

    def warn(self, message: str) -> None:
        """A warning for the user."""
        say(self.console, message, "yellow")
