"""One run of a study around its training: what is missing before, what to make of it after.

Knows nothing of Ray: `study.running.runner` trains in between.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.console import Console

from analysis.verdicts.judging import Verdict
from study.mlflow_view.publisher import Publisher
from study.planning.calibration import speeds_of
from study.planning.cost import Speeds, seconds_of
from study.planning.mixed import make_mixed_plan
from study.planning.plan import Plan, Slots, make_plan
from study.running.audits import missing_audits
from study.running.conclude import Conclusion, conclude, print_verdicts, report_folder
from study.running.progress import duration_text, rate_text
from study.spec.sections import StudySpec
from study.storage.store import Ledger, Store, StoreError
from trainers.trial import TrialConfig

FAILURES_SHOWN = 3
MEASURED_SECONDS = 30.0
"""Finished trials say how fast the next ones will be, if together they took this long."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended. counts: trials by status, `missing` included; trained: those of this run.

    interrupted: the number of the signal that ended it, or 0.
    """

    storage: str
    counts: Mapping[str, int]
    trained: int
    verdicts: list[Verdict] = field(default_factory=list)
    interrupted: int = 0

    @property
    def exit_code(self) -> int:
        """0 done, 3 some trials failed, 128 + signal interrupted."""
        if self.interrupted:
            return 128 + self.interrupted
        return 3 if self.counts["failed"] or self.counts["missing"] else 0


class Session:
    """One `run` on a claimed and locked store."""

    def __init__(
        self,
        spec: StudySpec,
        store: Store,
        console: Console,
        tracking_uri: str | None,
        trials: Sequence[TrialConfig] | None = None,
    ) -> None:
        self.spec, self.store, self.console = spec, store, console
        self.trials = spec.trials() if trials is None else list(trials)
        self.trial_ids = [trial.trial_id for trial in self.trials]
        self.missing: list[TrialConfig] = list(self.trials)
        self.settings: dict[str, TrialConfig] = {}
        self.ledger = Ledger()
        self._began = self._ended = 0.0
        self.publisher: Publisher | None = None
        if tracking_uri is not None:
            self.publisher = Publisher(store, self._tracker(tracking_uri), self._untracked)

    def _tracker(self, uri: str) -> Callable[[], Any]:
        def make() -> Any:
            from study.mlflow_view.tracking import Tracker

            return Tracker(self.spec.name, uri, self.spec.text, self.spec.description)

        return make

    def _untracked(self, message: str) -> None:
        self.warn(
            f"warning: the study goes on without MLflow, `scorerates sync` catches up: {message}"
        )

    def begin(self) -> None:
        """Reads what is there, and says so."""
        self.open()
        self.missing = [t for t in self.trials if not self.ledger.finished(t.trial_id)]
        if self.spec.audit:
            self.settings = missing_audits(self.store, self.trials)
        done = len(self.trials) - len(self.missing)
        if not self.missing:
            self.say(f"all {done} trials are done, nothing to train")
        elif done:
            self.say(f"{done} of {len(self.trials)} trials are done, {len(self.missing)} to train")

    def open(self) -> None:
        """Reads the store, and starts the MLflow view."""
        self.ledger = self.store.ledger(repair=True)
        for name in self.ledger.corrupt:
            self.warn(
                f"warning: {name} was damaged; moved aside to {name}.corrupt, its trials are "
                "trained again"
            )
        if self.publisher:
            self.publisher.start(self.trial_ids, self.ledger)

    def consists_of(self, trials: Sequence[TrialConfig]) -> None:
        """The study's trials are these, where they were not known at the start."""
        self.trials = list(trials)
        self.trial_ids = [trial.trial_id for trial in self.trials]

    def training_begins(self) -> None:
        """From now on workers train."""
        self._began = time.monotonic()

    def plan(self, slots: Slots) -> Plan:
        """The packs of what is missing; says what is about to happen."""
        speeds = speeds_of(slots, calibrate=False)
        plan = plan_on(slots, self.spec, self.missing, self.trials, self.ledger, speeds)
        if slots.beside is not None:
            others = speeds_of(slots.beside, calibrate=False)
            plan = make_mixed_plan(self.missing, plan, others, memory_limit(self.spec))
        self.say(
            f"{plan.trials} trials in {len(plan.packs)} packs, {slots.text}, "
            f"about {duration_text(plan.seconds)}"
        )
        self.training_begins()
        return plan

    def stored(self, pack_id: str, trial_ids: Sequence[str] | None = None) -> None:
        """A pack is in the store, and these of its trials (None: all) are final: on to MLflow."""
        self._ended = time.monotonic()
        if self.publisher:
            self.publisher.pack_done(pack_id, trial_ids)

    def halved(self, trials: int, attempts: int, reason: str) -> None:
        """Says that a pack's worker died at every attempt, and that its halves are tried next."""
        self.warn(
            f"warning: a pack of {trials} trials lost its worker in {attempts} of {attempts} "
            f"attempts ({reason}); its halves are tried next"
        )

    def auditing(self) -> None:
        """Says that the assumptions are measured next."""
        settings = f"{len(self.settings)} setting{'s' if len(self.settings) > 1 else ''}"
        self.say(f"measuring the theory's assumptions in {settings}")

    def audit_failed(self, config: TrialConfig, reason: str) -> None:
        """The report will lack the assumptions of this trial's setting."""
        self.warn(
            f"warning: the assumptions were not measured for {config.law.label}: {reason}; "
            "running the same command tries again"
        )

    def end(self, signal_number: int) -> RunResult:
        """Compiles and judges, unless interrupted; brings MLflow up to date either way."""
        before = sum(self.ledger.finished(trial_id) for trial_id in self.trial_ids)
        ledger = self.store.ledger()
        counts = ledger.counts(self.trial_ids)
        finished = counts["completed"] + counts["diverged"]
        result = RunResult(
            self.store.url, counts, finished + counts["failed"] - before, [], signal_number
        )
        tracker = self.publisher.finish() if self.publisher else None
        if signal_number:
            self.track(tracker, "KILLED")
            self.say(
                f"stopped: {finished} of {len(self.trials)} trials done; the same command continues"
            )
            return result
        if counts["missing"]:
            raise StoreError(
                f"{counts['missing']} trials were trained but are not in {self.store.place}: on a "
                "cluster, --storage must be a shared directory or an object store"
            )
        if counts["failed"]:
            self._report_failures(ledger)
        if not finished:
            self.track(tracker, "FAILED")
            return result
        self._report_rate(ledger)
        with report_folder(self.store) as folder:
            conclusion = conclude(self.store, self.spec, ledger, folder)
            self.track(tracker, "FINISHED", folder, conclusion)
        print_verdicts(self.console, conclusion.verdicts)
        self.say(f"report: {self.store.place}/report.html")
        return replace(result, verdicts=conclusion.verdicts)

    def track(
        self,
        tracker: Any,
        status: str,
        folder: Path | None = None,
        conclusion: Conclusion | None = None,
    ) -> None:
        """Closes the MLflow view with `status`, after the study's own files where there are any."""
        if tracker is None:
            return
        try:
            if folder is not None and conclusion is not None:
                tracker.log_study(folder, conclusion.verdicts, conclusion.table)
            tracker.close(status)
        except Exception as error:  # the results are safe: a view of them must not fail the run
            self._untracked(str(error) or type(error).__name__)

    def _report_failures(self, ledger: Ledger) -> None:
        wanted = [t for t in self.trial_ids if t in ledger.entries and not ledger.finished(t)]
        tables = self.store.rows(wanted, ledger)
        messages = Counter(m for table in tables for m in table["message"].to_pylist())
        self.warn(f"{len(wanted)} trials failed; running the same command tries them again")
        for message, count in messages.most_common(FAILURES_SHOWN):
            self.warn(f"  {count} x {message}")

    def _report_rate(self, ledger: Ledger) -> None:
        """Says how fast this run trained: while it trained, and with all else that workers do."""
        new = [i for i in self.trial_ids if ledger.finished(i) and not self.ledger.finished(i)]
        operations = seconds = 0.0
        for table in self.store.rows(new, ledger):
            # One row a trial: every trial begins at step 0.
            first = table.filter(pc.equal(table["step"], 0))
            operations += pc.sum(first["operations"]).as_py() or 0.0
            seconds += pc.sum(first["seconds"]).as_py() or 0.0
        wall = self._ended - self._began
        if operations and seconds and wall > 0:
            self.say(
                f"{operations:.3g} operations of training: {rate_text(operations / seconds)} a "
                f"worker while it trains, {rate_text(operations / wall)} in all, start-up, kernel "
                f"and storing included"
            )

    def say(self, message: str) -> None:
        """A line for the user."""
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """A warning for the user."""
        self.console.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)


def plan_on(
    slots: Slots,
    spec: StudySpec,
    missing: Sequence[TrialConfig],
    trials: Sequence[TrialConfig],
    ledger: Ledger,
    speeds: Speeds,
) -> Plan:
    """The plan for `missing`, at `speeds`, or as much slower or faster than these as the study's
    finished trials were."""
    finished: dict[str, list[TrialConfig]] = {}
    took = 0.0
    for trial in trials:
        entry = ledger.entries.get(trial.trial_id)
        on_cpu = slots.device == "cpu"
        if entry is not None and entry.seconds and (entry.device == "cpu") == on_cpu:
            finished.setdefault(entry.pack_id, []).append(trial)
            took += entry.seconds
    if took >= MEASURED_SECONDS:
        expected = sum(seconds_of(pack, speeds) for pack in finished.values())
        count = sum(map(len, finished.values()))
        speeds = speeds.slower(took / expected, f"measured on {count} finished trials")
    return make_plan(missing, slots, speeds, memory_limit(spec))


def memory_limit(spec: StudySpec) -> float | None:
    """Bytes that a pack may hold, None where the study does not say."""
    limit = spec.resources.memory_per_pack
    return None if limit is None else limit * 2**30
