"""`scorerates run`: trains what is missing of a grid or a design, then judges it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow.compute as pc
from rich.console import Console

from analysis.verdicts.judging import Verdict
from study.choosing.adaptive import AdaptiveDesign, replayed, results_in
from study.choosing.grid import Grid
from study.choosing.participant import Outcomes, lost
from study.commands.analyze import conclude, print_verdicts, report_folder
from study.commands.located import store_of
from study.running.progress import rate_text
from study.running.session import DEFAULT_TRACKING_URI, Session, session_on
from study.running.worker import TrainPack
from study.spec.sections import StudySpec
from study.storage.store import Ledger, Store

DESIGN = "design.json"
"""Beside the results: each family's trials by N, its half-widths, and how it ended."""

FAILURES_SHOWN = 3


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
        """0 done, 3 some trials failed or all diverged, 128 + signal interrupted."""
        if self.interrupted:
            return 128 + self.interrupted
        counts = self.counts
        return 3 if counts["failed"] or counts["missing"] or not counts["completed"] else 0


def run(
    spec: StudySpec,
    storage: str | Path | None = None,
    tracking_uri: str | None = DEFAULT_TRACKING_URI,
    address: str | None = None,
    trainer: TrainPack | None = None,
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
    store = store_of(spec, storage)
    participant = _participant(spec, store)
    with session_on(spec, store, tracking_uri, console or Console()) as session:
        with session.until_interrupted():
            session.begin(audited=spec.points())
            # What failed is tried again, and so is what lost its networks.
            keep, known = spec.kept(), session.ledger.entries.items()
            done = {i: entry for i, entry in known if entry.done(keep)}
            session.train([participant], Outcomes(store, done), address, trainer)
        return _end(session, participant)


def _participant(spec: StudySpec, store: Store) -> Grid | AdaptiveDesign:
    if spec.design is None:
        return Grid(spec.trials())
    return AdaptiveDesign(spec.points(), spec.design, results_in(store))


def _end(session: Session, participant: Grid | AdaptiveDesign) -> RunResult:
    """Compiles and judges, unless interrupted; brings MLflow up to date either way."""
    spec, store = session.spec, session.store
    ledger = store.ledger()
    if spec.design is not None:
        participant = replayed(spec.points(), spec.design, store, ledger)
        _tell(session, participant)
    trial_ids = [trial.trial_id for trial in participant.trials]
    counts = ledger.counts(trial_ids)
    finished = counts["completed"] + counts["diverged"]
    before = sum(session.ledger.finished(trial_id) for trial_id in trial_ids)
    trained = finished + counts["failed"] - before
    result = RunResult(store.url, counts, trained, [], session.signal)
    if session.signal:
        session.end("KILLED")
        session.say(
            f"stopped: {finished} of {len(trial_ids)} trials done; the same command continues"
        )
        return result
    if counts["missing"]:
        session.end("FAILED")
        raise lost(store, counts["missing"])
    if counts["failed"]:
        _tell_failures(session, trial_ids, ledger)
    if not finished:
        session.end("FAILED")
        return result
    _tell_rate(session, trial_ids, ledger)
    with report_folder(store) as folder:
        evaluation = conclude(store, spec, ledger, folder)
        session.end("FINISHED", folder, evaluation)
    print_verdicts(session.console, evaluation)
    session.say(f"report: {store.place}/report.html")
    return replace(result, verdicts=list(evaluation))


def _tell(session: Session, design: AdaptiveDesign) -> None:
    """Writes and says where the seeds of a design went."""
    statuses = design.status()
    session.store.write_text(DESIGN, json.dumps([asdict(s) for s in statuses], indent=2) + "\n")
    for status in statuses:
        ended, seeds = status.lines
        session.say(f"design of {status.label}: {ended}")
        session.say(f"  {seeds}")


def _tell_failures(session: Session, trial_ids: Sequence[str], ledger: Ledger) -> None:
    wanted = [i for i in trial_ids if i in ledger.entries and not ledger.finished(i)]
    tables = session.store.rows(wanted, ledger)
    messages = Counter(m for table in tables for m in table["message"].to_pylist())
    session.warn(f"{len(wanted)} trials failed; running the same command tries them again")
    for message, count in messages.most_common(FAILURES_SHOWN):
        session.warn(f"  {count} x {message}")
    own = sorted({t.trainer for t in session.spec.points() if ":" in t.trainer})
    if own:
        session.warn(f"  `python -m trainers.conformance {own[0]}` says what a trainer breaks")


def _tell_rate(session: Session, trial_ids: Sequence[str], ledger: Ledger) -> None:
    """Says how fast this run trained: while it trained, and with all else that workers do."""
    new = [i for i in trial_ids if ledger.finished(i) and not session.ledger.finished(i)]
    operations = seconds = 0.0
    for table in session.store.rows(new, ledger):
        # One row a trial: every trial begins at step 0.
        first = table.filter(pc.equal(table["step"], 0))
        operations += pc.sum(first["operations"]).as_py() or 0.0
        seconds += pc.sum(first["seconds"]).as_py() or 0.0
    if operations and seconds and session.seconds > 0:
        session.say(
            f"{operations:.3g} operations of training: {rate_text(operations / seconds)} a "
            f"worker while it trains, {rate_text(operations / session.seconds)} in all, start-up, "
            f"kernel and storing included"
        )
