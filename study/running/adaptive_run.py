"""`scorerates run` of a study with an adaptive design: rounds of Ray Tune, then the verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from rich.console import Console

from study.choosing.adaptive import AdaptiveDesign, replayed, results_in
from study.choosing.allocation import Outcome, Scheduler, outcomes_of
from study.planning.calibration import speeds_of
from study.planning.plan import Slots
from study.running.audits import missing_audits
from study.running.cluster import ray_here
from study.running.interruption import Interrupted, interruptible
from study.running.progress import ProgressDisplay, Tally
from study.running.runner import audit_settings, held_atoms
from study.running.session import RunResult, Session
from study.running.suggest import train_as_suggested
from study.running.worker import Job, Trainer
from study.spec.sections import StudySpec
from study.storage.store import Store
from trainers.problem.atoms_file import load_atoms

FILE = "design.json"
"""Beside the results: each family's trials by N, its half-widths, and how it ended."""


def run_adaptive(
    spec: StudySpec,
    storage: str | Path | None,
    tracking_uri: str | None,
    address: str | None,
    trainer: Trainer | None,
    console: Console,
) -> RunResult:
    """As `study.run`, for a study with a design: from the rounds that are done to the last one."""
    assert spec.design is not None
    store = Store(storage if storage is not None else Path("results") / spec.name)
    session = Session(spec, store, console, tracking_uri, trials=())
    with store.lock(session.warn) as lock, interruptible() as interruption:
        store.claim(spec.name, spec.text, spec.folder)
        session.open()
        design = AdaptiveDesign(spec.points(), spec.design, results_in(store))
        try:
            if spec.audit:
                session.settings = missing_audits(store, spec.points())
            outcomes = _finished(session)
            scheduler = Scheduler([design], outcomes, 1, partial(_final, session, outcomes))
            done = scheduler.idle()
            if not done or session.settings:
                with ray_here(address, spec) as slots:
                    interruption.install()
                    if not done:
                        _train(session, design, scheduler, slots, trainer, lock.check)
                    if session.settings:
                        audit_settings(session, slots, held_atoms(spec))
        except (Interrupted, Exception):
            # Compiled code on the way (Ray's wait) may turn the one into the other.
            if not interruption.number:
                raise
        ledger = store.ledger()
        reached = replayed(spec.points(), spec.design, store, ledger)
        session.consists_of(reached.trials)
        store.write_text(FILE, json.dumps([asdict(s) for s in reached.status()], indent=2) + "\n")
        _say(session, reached)
        return session.end(interruption.number)


def _finished(session: Session) -> dict[str, Outcome]:
    """What the store has; failed trials are tried again."""
    ids = [i for i, entry in session.ledger.entries.items() if entry.finished]
    found: dict[str, Outcome] = {}
    for table in session.store.rows(ids, session.ledger):
        found |= outcomes_of(table)
    return {i: replace(o, pack_id=session.ledger.entries[i].pack_id) for i, o in found.items()}


def _final(session: Session, outcomes: Mapping[str, Outcome], trial_ids: Sequence[str]) -> None:
    """A round's trials: on to MLflow."""
    packs: dict[str, list[str]] = {}
    for trial_id in trial_ids:
        packs.setdefault(outcomes[trial_id].pack_id, []).append(trial_id)
    for pack_id, ids in packs.items():
        session.stored(pack_id, ids)


def _train(
    session: Session,
    design: AdaptiveDesign,
    scheduler: Scheduler,
    slots: Slots,
    trainer: Trainer | None,
    check: Callable[[], None],
) -> None:
    spec = session.spec
    scheduler.on(slots, speeds_of(slots, calibrate=False))
    atoms = {key: load_atoms(path) for key, path in spec.atom_files().items()}
    job = Job(
        spec.name, session.store, slots.device, slots.cpus, trainer, sources=spec.trainer_files()
    )
    tally = Tally(0)  # of the rounds until now: how many there will be is not known
    session.training_begins()

    def changed() -> None:
        tally.total = len(design.trials)
        tally.done = scheduler.known(trial.trial_id for trial in design.trials)
        tally.work, tally.work_done = float(tally.total), float(tally.done)

    changed()
    with ProgressDisplay(session.console, tally, 0.0) as display:
        train_as_suggested(scheduler, job, atoms, slots, display, tally, changed, check)
        changed()


def _say(session: Session, design: AdaptiveDesign) -> None:
    for status in design.status():
        ended, seeds = status.lines
        session.say(f"design of {status.label}: {ended}")
        session.say(f"  {seeds}")
