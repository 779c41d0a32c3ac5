"""`scorerates search`: Optuna and the theory-guided choice over packs, then what came of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.data.sweeps import PLAIN
from analysis.data.table import Table as Frame
from analysis.figures.tuning import choice_rows, final_rows
from analysis.searches.answers import answers
from analysis.searches.best import HYPERPARAMETERS, chosen, load_importance
from analysis.searches.finals import duels, finals
from analysis.searches.tuning import COLUMNS, FILE, FINAL, GUIDED, PILOT, POINT
from study.choosing.finals import FIRST_FRESH, Finals, finals_of
from study.choosing.participant import Outcomes, Participant
from study.choosing.search import DATABASE, Search, Where, best_until, open_storage
from study.commands.analyze import conclude_search, report_folder
from study.commands.located import store_of
from study.commands.plans.of_search import Lacking, folder_of, guided_of, searches_of
from study.running.packing import Packing
from study.running.session import DEFAULT_TRACKING_URI, Session, session_on
from study.running.worker import TrainPack
from study.spec.search import SearchSection
from study.spec.sections import StudySpec
from study.terminal import literal, say
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
        self._finals: list[Finals] = []
        self._outcomes = Outcomes(session.store, {})

    def begin(self, search_at: Callable[[Where], Search]) -> None:
        """Reads what there is in the store and, with `search_at`, in Optuna's database."""
        session = self._session
        session.begin()
        self._outcomes = Outcomes(session.store, session.ledger.entries)
        for where in self._wheres:
            self._searches.append(search_at(where))
        points = session.spec.search_points()
        self._finals = finals_of(points, self._section, self._searches, self._guided)

    def train(self, address: str | None, trainer: TrainPack | None) -> None:
        """Trains until every participant is done."""
        self._session.say(
            f"{len(self._searches)} searches of {self._section.evaluations} evaluations"
        )
        participants: list[Participant] = [*self._guided, *self._searches, *self._finals]
        self._session.train(
            participants, self._outcomes, address, trainer, self._count, self._foreseen
        )

    def _foreseen(self, packing: Packing) -> str:
        """How long all of it will take."""
        searches = [(search.where, len(search.finished_trials())) for search in self._searches]
        done = self._session.ledger.entries.keys()
        lacking = Lacking.of(self._section, searches, self._guided, done, self._finals)
        return f"all of it {lacking.time(packing)}\n  assumed: {lacking.assumed()}"

    def _evaluations(self) -> tuple[int, int]:
        """Those done, and wanted."""
        done = sum(len(search.finished_trials()) for search in self._searches)
        return done, len(self._wheres) * self._section.evaluations

    def _count(self) -> tuple[int, int]:
        """Evaluations and trials of the finals done, and wanted, at most."""
        done, wanted = self._evaluations()
        last = [trial.trial_id for one in self._finals for trial in one.trials]
        done += sum(self._outcomes.pack_of(trial_id) is not None for trial_id in last)
        return done, wanted + sum(one.wanted for one in self._finals)

    # --- the end ---------------------------------------------------------------------------------

    def end(self) -> SearchResult:
        """Writes the table of evaluations, results.parquet and the report."""
        session, store = self._session, self._session.store
        table = self._table()
        failed = int((table["state"] == "FAIL").sum())
        done, wanted = self._evaluations()
        result = SearchResult(store.url, done, wanted, failed, table, session.signal)
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        store.write_bytes(FILE, buffer.getvalue())
        if session.signal:
            session.end("KILLED")
            last = ""
            if done == wanted and self._finals:
                every, of = self._count()
                last = f" and {every - done} of {of - wanted} trials of the finals"
            session.say(
                f"stopped: {done} of {wanted} evaluations{last} done; the same command continues"
            )
            return result
        ledger = store.ledger()
        with report_folder(store) as folder:
            evaluation = conclude_search(store, session.spec, ledger, folder)
            session.end("FINISHED", folder, evaluation)
        _print_choices(session.console, table, evaluation.table, load_importance(store.url))
        for guided in self._guided:
            if guided.message:
                session.warn(f"no theory-guided choice: {guided.message}")
        session.say(f"the best as a study: scorerates best {store.place} --study NAME > NAME.yaml")
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
        for one in self._finals:
            rows += self._rows_of(one)
        complete = [{"message": "", "finalist": "", **row} for row in rows]
        return pd.DataFrame(complete, columns=list(COLUMNS)).astype(COLUMNS)

    def _rows_of(self, finals: Finals) -> list[dict[str, Any]]:
        """Those of the trials of a point's finals; none until all are there."""
        if any(self._outcomes.pack_of(trial.trial_id) is None for trial in finals.trials):
            return []
        rows = []
        for number, one in enumerate(finals.finalists):
            for trial in one.trials(self._section.finals):
                outcome = self._outcomes[trial.trial_id]
                row = {
                    **_point(finals.point),
                    "method": FINAL,
                    "repetition": trial.seed - FIRST_FRESH,
                    "number": number,
                    "trial_id": trial.trial_id,
                    "state": outcome.status,
                    "operations": outcome.operations,
                    "finalist": " ".join(one.chosen),
                }
                found = best_until(outcome, trial.steps)
                if found is not None:
                    value, index = found
                    row |= {
                        "value": value,
                        "score_error": outcome.series["score_error"][index],
                        "step": int(outcome.steps[index]),
                    }
                rows.append(row)
        return rows


def _point(point: TrialConfig) -> dict[str, Any]:
    values = (
        point.law_id, point.law.label, point.dimension, point.samples, point.diffusion.t_min,
        point.steps,
    )  # fmt: skip
    return dict(zip(POINT, values, strict=True))


def _print_choices(
    console: Console, table: pd.DataFrame, frame: Frame, importance: pd.DataFrame
) -> None:
    """The best evaluation of each search and theory's choice, the finals, and what they say."""
    choices = chosen(table, frame)
    last = finals(table, choices)
    cells = [
        (who.replace(", repetition", ""), *values, *rest)
        for who, values, *rest in choice_rows(choices)
    ]
    heads: tuple[str, ...] = ("stop at", "held-out loss", "score error")
    _print_table(console, choices, heads, cells)
    if len(last):
        say(
            console,
            "the finals, on fresh seeds, the same for all; the least mean held-out loss wins:",
        )
        cells = [
            (who, *values, steps, loss, error)
            for who, values, steps, loss, _, error in final_rows(last)
        ]
        heads = ("stopped at", "held-out loss", "score error")
        _print_table(console, last, heads, cells)
    for one in answers(choices, last, duels(table, last), importance):
        say(console, f"{one.label}:")
        for words in (*one.best, *filter(None, (one.duel,)), one.deciding):
            say(console, f"  {words}")


def _print_table(
    console: Console, choices: pd.DataFrame, heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    table = Table(pad_edge=False)
    names = [PLAIN.get(name, name) for name in HYPERPARAMETERS.values()]
    several = choices["samples"].nunique() > 1
    for name in (*("N",) * several, "chosen by", *names, *heads):
        words = name in ("chosen by", "initialisation", "bias", "trainer")
        table.add_column(name, justify="left" if words else "right")
    for samples, cells in zip(choices["samples"], rows, strict=True):
        row = (f"{samples}", *cells) if several else cells
        table.add_row(*map(literal, row))
    console.print(table)
