"""`scorerates search`: Optuna and the theory-guided choice over packs, then what came of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.data.sweeps import PLAIN
from analysis.figures.tuning import choice_rows
from analysis.searches.best import HYPERPARAMETERS, IMPORTANCE, chosen
from analysis.searches.tuning import COLUMNS, FILE, GUIDED, PILOT, POINT
from study.choosing.participant import Outcomes, Participant
from study.choosing.search import DATABASE, Search, Where, open_storage
from study.commands.analyze import conclude_search, report_folder
from study.commands.located import store_of
from study.commands.plans.of_search import Lacking, folder_of, guided_of, searches_of
from study.running.packing import Packing
from study.running.session import DEFAULT_TRACKING_URI, Session, session_on
from study.running.worker import TrainPack
from study.spec.search import SearchSection
from study.spec.sections import StudySpec
from study.terminal import literal
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
    trainer: TrainPack | None = None,
    console: Console | None = None,
) -> SearchResult:
    """Runs the searches of a spec up to their evaluations, from wherever they are.

    Arguments as of `study.run`; storage must be a directory, where Optuna's database is kept.
    Raises SpecError, StoreError and StorageLockedError. SIGINT and SIGTERM end it cleanly.
    """
    section = spec.searched()
    store = store_of(spec, storage)
    folder = folder_of(store)
    with (
        session_on(spec, store, tracking_uri, console or Console()) as session,
        open_storage(folder) as database,
    ):
        work = _Work(session, section)
        with session.until_interrupted():
            work.begin(partial(Search, database, spec.name, section=section))
            work.train(address, trainer)
        return work.end()


class _Work:
    """One `search` on a claimed and locked store."""

    def __init__(self, session: Session, section: SearchSection) -> None:
        self._session, self._section = session, section
        self._wheres = searches_of(session.spec, section)
        self._guided = guided_of(session.spec, section)
        self._searches: list[Search] = []
        self._outcomes = Outcomes(session.store, {})

    def begin(self, search_at: Callable[[Where], Search]) -> None:
        """Reads what there is in the store and, with `search_at`, in Optuna's database."""
        session = self._session
        session.begin()
        self._outcomes = Outcomes(session.store, session.ledger.entries)
        for where in self._wheres:
            self._searches.append(search_at(where))

    def train(self, address: str | None, trainer: TrainPack | None) -> None:
        """Trains until every participant is done."""
        self._session.say(
            f"{len(self._searches)} searches of {self._section.evaluations} evaluations"
        )
        participants: list[Participant] = [*self._guided, *self._searches]
        self._session.train(
            participants, self._outcomes, address, trainer, self._count, self._foreseen
        )

    def _foreseen(self, packing: Packing) -> str:
        """How long all of it will take."""
        searches = [(search.where, len(search.finished_trials())) for search in self._searches]
        done = self._session.ledger.entries.keys()
        lacking = Lacking.of(self._section, searches, self._guided, done)
        return f"all of it {lacking.time(packing)}\n  assumed: {lacking.assumed()}"

    def _count(self) -> tuple[int, int]:
        """Evaluations done, and wanted."""
        done = sum(len(search.finished_trials()) for search in self._searches)
        return done, len(self._wheres) * self._section.evaluations

    # --- the end ---------------------------------------------------------------------------------

    def end(self) -> SearchResult:
        """Writes the table of evaluations, results.parquet and the report."""
        session, store = self._session, self._session.store
        table = self._table()
        failed = int((table["state"] == "FAIL").sum())
        done, wanted = self._count()
        result = SearchResult(store.url, done, wanted, failed, table, session.signal)
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        store.write_bytes(FILE, buffer.getvalue())
        if session.signal:
            session.end("KILLED")
            session.say(f"stopped: {done} of {wanted} evaluations done; the same command continues")
            return result
        ledger = store.ledger()
        with report_folder(store) as folder:
            shares = self._importance()
            evaluation = conclude_search(store, session.spec, ledger, folder, shares)
            session.end("FINISHED", folder, evaluation)
        _print_choices(session.console, chosen(table, evaluation.table))
        for guided in self._guided:
            if guided.message:
                session.warn(f"no theory-guided choice: {guided.message}")
        session.say(f"report: {store.place}/report.html")
        session.say(f"Optuna: optuna-dashboard sqlite:///{store.local}/{DATABASE}")
        return result

    def _importance(self) -> pd.DataFrame:
        """Of the hyperparameters in each search."""
        rows = [
            {**_point(s.where.point), "method": s.where.sampler, "repetition": s.where.repetition,
             "hyperparameter": name, "importance": share}
            for s in self._searches
            for name, share in s.importance().items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=IMPORTANCE)

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


def _print_choices(console: Console, choices: pd.DataFrame) -> None:
    """The best evaluation of each search, and theory's choice."""
    table = Table(pad_edge=False)
    names = [PLAIN.get(name, name) for name in HYPERPARAMETERS.values()]
    for name in ("N", "chosen by", *names, "stop at", "held-out loss", "score error"):
        words = name in ("chosen by", "initialisation", "bias", "trainer")
        table.add_column(name, justify="left" if words else "right")
    for (_, row), cells in zip(choices.iterrows(), choice_rows(choices), strict=True):
        who, values, step, loss, error = cells
        table.add_row(*map(literal, (f"{row['samples']}", who, *values, step, loss, error)))
    console.print(table)
