"""`scorerates search`: Optuna and the theory-guided choice over packs, then what came of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.verdicts.tuning import COLUMNS, FILE, GUIDED, NOT_SEARCHED, PILOT, POINT
from study.choosing.allocation import Outcome, Scheduler, outcomes_of
from study.choosing.guided import TheoryGuided
from study.choosing.search import DATABASE, Search, Where, open_storage
from study.planning.calibration import speeds_of
from study.running.cluster import ray_here
from study.running.interruption import Interrupted, interruptible
from study.running.progress import ProgressDisplay, Tally
from study.running.runner import DEFAULT_TRACKING_URI
from study.running.session import Session
from study.running.suggest import train_as_suggested
from study.running.worker import Job, Trainer
from study.spec.messages import SpecError
from study.spec.sections import StudySpec
from study.storage.store import Store
from trainers.problem.atoms_file import load_atoms
from trainers.trial import TrialConfig


@dataclass(frozen=True)
class SearchResult:
    """How a search ended. evaluations: those done, of `wanted`; failed: of them without a value."""

    storage: str
    evaluations: int
    wanted: int
    failed: int
    table: pd.DataFrame
    interrupted: int = 0

    @property
    def exit_code(self) -> int:
        """0 done, 3 some evaluations failed, 128 + signal interrupted."""
        if self.interrupted:
            return 128 + self.interrupted
        return 3 if self.failed else 0


def search(
    spec: StudySpec,
    storage: str | Path | None = None,
    tracking_uri: str | None = DEFAULT_TRACKING_URI,
    address: str | None = None,
    trainer: Trainer | None = None,
    console: Console | None = None,
) -> SearchResult:
    """Runs the searches of a spec up to their evaluations, from wherever they are.

    Arguments as of `study.run`; storage must be a directory, where Optuna's database is kept.
    Raises SpecError, StoreError and StorageLockedError. SIGINT and SIGTERM end it cleanly.
    """
    if spec.search is None:
        raise SpecError("search is missing: say what to search over, see study/spec/search.py")
    console = console or Console()
    store = Store(storage if storage is not None else Path("results") / spec.name)
    if store.local is None:
        raise SpecError(
            f"--storage {storage}: a search keeps Optuna's database ({DATABASE}) beside its "
            "results, and needs a directory for it"
        )
    with store.lock(console.print) as lock, interruptible() as interruption:
        store.claim(spec.name, spec.text, spec.folder)
        with open_storage(store.local) as database:
            session = Session(spec, store, console, tracking_uri, trials=())
            session.open()
            searches = [
                Search(database, spec.name, Where(point, sampler, repetition), spec.search)
                for point in spec.search_points()
                for sampler in spec.search.samplers
                for repetition in range(spec.search.repetitions)
            ]
            guided = [
                TheoryGuided(point, repetition, spec.search.theory)
                for point in spec.search_points()
                for repetition in range(spec.search.repetitions)
                if spec.search.theory is not None
            ]
            work = _Work(spec, session, searches, guided)
            try:
                work.run(address, trainer, interruption.install, lock.check)
            except (Interrupted, Exception):
                # Compiled code on the way (Ray's wait) may turn the one into the other.
                if not interruption.number:
                    raise
            return work.end(interruption.number)


class _Work:
    """One `search` on a claimed and locked store."""

    def __init__(
        self,
        spec: StudySpec,
        session: Session,
        searches: Sequence[Search],
        guided: Sequence[TheoryGuided],
    ) -> None:
        assert spec.search is not None
        self._spec, self._session = spec, session
        self._searches, self._guided = searches, guided
        self._wanted = len(searches) * spec.search.evaluations
        self._outcomes: dict[str, Outcome] = {}
        for table in session.store.rows(list(session.ledger.entries), session.ledger):
            self._outcomes |= outcomes_of(table)
        for trial_id, entry in session.ledger.entries.items():
            self._outcomes[trial_id] = _from(self._outcomes[trial_id], entry.pack_id)

    @property
    def _done(self) -> int:
        return sum(len(search.finished_trials()) for search in self._searches)

    def run(
        self,
        address: str | None,
        trainer: Trainer | None,
        on_ray: Callable[[], None],
        check: Callable[[], None],
    ) -> None:
        """Trains until every participant is done. check: as of `study.running.watch.Trouble`."""
        spec, session = self._spec, self._session
        done = self._done
        session.say(
            f"{len(self._searches)} searches of {self._wanted // len(self._searches)} evaluations"
            + (f", {done} of {self._wanted} are done" if done else "")
        )
        scheduler = Scheduler([*self._guided, *self._searches], self._outcomes, 1, self._final)
        if scheduler.idle():
            return
        with ray_here(address, spec) as slots:
            on_ray()
            scheduler.on(slots, speeds_of(slots, calibrate=False))
            atoms = {key: load_atoms(path) for key, path in spec.atom_files().items()}
            files = spec.trainer_files()
            job = Job(spec.name, session.store, slots.device, slots.cpus, trainer, sources=files)
            tally = Tally(self._wanted, self._done, work=self._wanted, work_done=self._done)

            def changed() -> None:
                tally.done = self._done
                tally.work_done = tally.done

            with ProgressDisplay(session.console, tally, 0.0) as display:
                train_as_suggested(scheduler, job, atoms, slots, display, tally, changed, check)
                changed()

    def _final(self, trial_ids: list[str]) -> None:
        """Trials that are as they will stay: on to MLflow."""
        packs: dict[str, list[str]] = {}
        for trial_id in trial_ids:
            packs.setdefault(self._outcomes[trial_id].pack_id, []).append(trial_id)
        for pack_id, ids in packs.items():
            self._session.stored(pack_id, ids)

    # --- the end ---------------------------------------------------------------------------------

    def end(self, signal_number: int) -> SearchResult:
        """Writes the table of evaluations, results.parquet and the report."""
        session, store = self._session, self._session.store
        table = self._table()
        failed = int((table["state"] == "FAIL").sum())
        result = SearchResult(store.url, self._done, self._wanted, failed, table, signal_number)
        tracker = session.publisher.finish() if session.publisher else None
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        store.write_bytes(FILE, buffer.getvalue())
        if signal_number:
            session.track(tracker, "KILLED")
            session.say(
                f"stopped: {self._done} of {self._wanted} evaluations done; the same command "
                "continues"
            )
            return result
        from study.running.conclude import conclude_search, report_folder

        ledger = store.ledger()
        with report_folder(store) as folder:
            conclusion = conclude_search(store, self._spec, ledger, folder)
            session.track(tracker, "FINISHED", folder, conclusion)
        _print_best(session.console, table)
        for guided in self._guided:
            if guided.message:
                session.warn(f"no theory-guided choice: {guided.message}")
        session.say(f"report: {store.place}/report.html")
        session.say(f"Optuna: optuna-dashboard sqlite:///{store.local}/{DATABASE}")
        return result

    def _table(self) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        for search in self._searches:
            where = search.where
            at = {
                **_point(where.point),
                "method": where.sampler,
                "repetition": where.repetition,
            }
            rows += [{**at, **asdict(evaluation)} for evaluation in search.evaluations()]
        for guided in self._guided:
            outcome = self._outcomes.get(guided.trial.trial_id) if guided.trial else None
            pilots = [self._outcomes.get(pilot.trial_id) for pilot in guided.pilots]
            for number, (pilot, found) in enumerate(zip(guided.pilots, pilots, strict=True)):
                if found is not None:
                    rows.append(
                        {
                            **_point(guided.point),
                            "method": PILOT,
                            "repetition": guided.repetition,
                            "number": number,
                            "trial_id": pilot.trial_id,
                            "state": found.status,
                            "operations": found.operations,
                            "message": guided.message,
                        }
                    )
            if outcome is None or guided.trial is None:
                continue
            rows.append(
                {
                    **_point(guided.point),
                    "method": GUIDED,
                    "repetition": guided.repetition,
                    "number": 0,
                    "trial_id": guided.trial.trial_id,
                    "state": outcome.status,
                    "operations": outcome.operations,
                    "pilot_operations": sum(p.operations for p in pilots if p is not None),
                    "constant": guided.constant,
                    "message": guided.message,
                }
            )
        complete = [{"message": "", **row} for row in rows]
        return pd.DataFrame(complete, columns=list(COLUMNS)).astype(COLUMNS)


def _point(point: TrialConfig) -> dict[str, Any]:
    values = (
        point.law_id, point.law.label, point.dimension, point.samples, point.diffusion.t_min,
        point.steps,
    )  # fmt: skip
    return dict(zip(POINT, values, strict=True))


def _from(outcome: Outcome, pack_id: str) -> Outcome:
    return replace(outcome, pack_id=pack_id)


def _print_best(console: Console, evaluations: pd.DataFrame) -> None:
    """The best evaluation of each search."""
    table = Table(pad_edge=False)
    names = ("N", "sampler", "repetition", "evaluations", "pruned", "held-out loss", "score error")
    for name in names:
        table.add_column(name, justify="left" if name == "sampler" else "right")
    searched = evaluations[~evaluations["method"].isin(NOT_SEARCHED)]
    for _, own in searched.groupby([*POINT, "method", "repetition"], sort=True):
        best = own.sort_values("value").iloc[0]
        pruned = int((own["state"] == "PRUNED").sum())
        table.add_row(
            f"{best['samples']}",
            str(best["method"]),
            f"{best['repetition']}",
            f"{len(own)}",
            f"{pruned}",
            f"{best['value']:.5g}",
            f"{best['score_error']:.4g}",
        )
    console.print(table)
