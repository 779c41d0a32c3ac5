"""`scorerates analyze`, and the end of `run` and `search`: from stored packs to results.parquet,
verdicts.json, report.html and figures/."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.console import Console, JustifyMethod
from rich.table import Table as Printed

from analysis.data.audit import audit_beside
from analysis.data.curves.point_means import point_means
from analysis.data.results import load_results
from analysis.data.sweeps import PLAIN, data_file, law_names, settings
from analysis.data.table import Table, load_table
from analysis.figures.rates.answer import Group, answers, groups, setting_of
from analysis.report.wording import (
    MEAN_HEADS,
    as_text,
    decided_first,
    flat,
    lead,
    mean_cells,
    of_files,
    own_answers,
    why_open,
)
from analysis.searches.best import FILE as BEST
from analysis.searches.best import chosen, described
from analysis.searches.finals import duels, finals
from analysis.searches.tuning import load_evaluations
from analysis.theory import Kind
from analysis.theory.record import compared
from analysis.verdicts.asking import lines
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.judging import Verdict
from analysis.verdicts.own import Stated
from study.choosing.adaptive import replayed
from study.commands.located import known_trials, owned
from study.running import audits
from study.spec.sections import StudySpec
from study.storage.store import Ledger, Store, StoreError
from study.terminal import literal, say
from trainers.trial import TrialConfig, TrialStatus

NO_RATE = (
    "no rate to judge: of a law of kind table f* is not known, so what is measured is the held-out "
    "loss, whose least value is not 0 (and samples, with `quality`)"
)


MEANS_SHOWN = 20
"""Points of a study without a rate that are printed."""


class ReportError(StoreError):
    """The results are stored, and what they say could not be written."""

    exit_code = 3


def conclude(store: Store, spec: StudySpec, ledger: Ledger, folder: Path) -> Evaluation:
    """Compiles the trials of `spec` and judges them; figures and report go to `folder`.

    Trials that the store holds and `spec` does not ask for stay out of it. Raises StoreError where
    no trial of the study has finished.
    """
    if spec.search is not None:
        return conclude_search(store, spec, ledger, folder)
    if spec.design is None:
        trials, notes = spec.trials(), []
    else:
        design = replayed(spec.points(), spec.design, store, ledger)
        trials = design.trials
        notes = [(f"Design of {s.label}", "; ".join(s.lines)) for s in design.status()]
    trial_ids, earlier = finished_ids(trials, ledger)
    if earlier:
        notes.append(("Numbers", earlier))
    if not any(ledger.finished(trial_id) for trial_id in trial_ids):
        raise StoreError(
            f"{store.place}: no trial of study {spec.name!r} has finished: run it first"
        )
    table = compiled(store, spec, trial_ids, ledger, folder)
    audit = audits.load_latest(store, trials, spec.audit_points, earlier=bool(earlier))
    return judge_table(
        store, table, spec.text, folder, spec.stopping, audit, notes, spec.theories,
        spec.description, spec.own_predictions(),
    )  # fmt: skip


def finished_ids(trials: Sequence[TrialConfig], ledger: Ledger) -> tuple[list[str], str]:
    """The ids under which the store holds the trials: of today's numbers where one has finished,
    else of the latest earlier ones that have, with a note that says so."""
    today = [trial.trial_id for trial in trials]
    if any(ledger.finished(trial_id) for trial_id in today):
        return today, ""
    for ids in zip(*(trial.earlier_ids() for trial in trials), strict=True):
        if any(ledger.finished(trial_id) for trial_id in ids):
            return list(ids), (
                "These results are of an earlier version of this program, whose test points told "
                "less: intervals leave out the test set's own error. `scorerates run` trains anew."
            )
    return today, ""


def conclude_search(
    store: Store,
    spec: StudySpec,
    ledger: Ledger,
    folder: Path,
) -> Evaluation:
    """The same for a search: the trials of its table of evaluations, and what they chose to
    search.json. No rate is fitted to trials that were chosen by their results, so there are no
    verdicts. Raises StoreError."""
    from analysis.report.page import write_report  # loads matplotlib
    from study.choosing.importance import importance_of  # loads optuna

    evaluations, trial_ids = load_evaluations(store.url), known_trials(store, spec, ledger)
    if evaluations is None or not trial_ids:
        raise StoreError(
            f"{store.place}: no evaluation of search {spec.name!r} has finished: start it with "
            "`scorerates search` first"
        )
    table = compiled(store, spec, trial_ids, ledger, folder)
    store.write_text("verdicts.json", "[]\n")
    evaluation = Evaluation.unjudged(table)
    shares = importance_of(evaluations, table)
    choices = chosen(evaluations, table)
    last = finals(evaluations, choices)
    tables = {"finals": last, "tuned_against_theory": duels(evaluations, last)}
    store.write_text(BEST, described(best=choices, **tables, importance=shares))
    write_report(
        folder, evaluation, spec.text, tuning=evaluations, description=spec.description,
        importance=shares,
    )  # fmt: skip
    return evaluation


def compiled(
    store: Store, spec: StudySpec, trial_ids: Sequence[str], ledger: Ledger, folder: Path
) -> Table:
    """The table of these trials of `spec`, compiled to results.parquet; a copy of which is in
    `folder` where the storage is not on this machine."""
    try:
        place = store.compile(trial_ids, ledger, spec.diffusion.ends)
    except StoreError as error:
        raise ReportError(str(error)) from None
    return load_table(place if store.local else str(store.fetch("results.parquet", folder)))


def judge_table(
    store: Store,
    table: Table,
    spec_text: str,
    folder: Path,
    stopping: Sequence[str] | None = None,
    audit: pd.DataFrame | None = None,
    notes: Sequence[tuple[str, str]] = (),
    theories: Sequence[str] | None = None,
    description: str = "",
    own: Sequence[Stated] = (),
) -> Evaluation:
    """Verdicts of a results table to verdicts.json; figures and report to `folder`. stopping: the
    rules to compare, None for all. audit: the assumptions, measured, where they were. notes: more
    to say of the study, as term and description. theories: those to judge, None for all.
    description, own: the study's own, and its predictions."""
    from analysis.report.page import write_report  # loads matplotlib

    evaluation = evaluate(table, extra=own, audit=audit, stopping=stopping, theories=theories)
    described = [verdict.to_dict() for verdict in evaluation]
    store.write_text("verdicts.json", json.dumps(described, indent=2, allow_nan=False) + "\n")
    registered = compared(store.registered(), theories)
    write_report(
        folder, evaluation, spec_text, notes=notes, registered=registered, description=description
    )
    if store.local is None:
        for name in ("verdicts.json", "spec.yaml"):
            (folder / name).write_bytes(store.read(name) or b"")
    return evaluation


def analyze_store(store: Store, spec: StudySpec | None = None) -> Evaluation:
    """Judges what is stored: the trials of `spec`, else of the study as last run there, else, where
    a results table came without its study, the whole table. Raises StoreError, ResultsError."""
    with report_folder(store) as folder:
        if spec is None and not store.exists():
            frame = load_results(store.url)
            return judge_table(store, Table.of(frame), "", folder, audit=audit_beside(frame))
        return conclude(store, owned(store, spec), store.ledger(), folder)


@contextmanager
def report_folder(store: Store) -> Iterator[Path]:
    """Where figures and report are written: the storage, or a folder that is uploaded after. Raises
    ReportError where it cannot be written."""
    try:
        if store.local is not None:
            yield store.local
            return
        with tempfile.TemporaryDirectory(prefix="scorerates-") as folder:
            yield Path(folder)
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and path.name not in ("results.parquet", "spec.yaml"):
                    store.write_bytes(path.relative_to(folder).as_posix(), path.read_bytes())
    except OSError as error:
        raise ReportError(
            f"the report of {store.place} could not be written: {error.strerror or error}; the "
            "results are safe: mend that, then `scorerates analyze` writes it"
        ) from None


def print_verdicts(console: Console, evaluation: Evaluation) -> None:
    """The verdict table, or why there is none."""
    statuses = evaluation.table.trials["status"]
    if (statuses == TrialStatus.DIVERGED).all():
        say(
            console,
            f"all {len(statuses)} trials diverged, so there is no rate to judge: take smaller step "
            "sizes (`scorerates plan` says from where on they are too large)",
            "yellow",
        )
        return
    if len(evaluation):
        own = groups(evaluation.verdicts, law_names(evaluation.table))
        for line in _alike(evaluation, own):
            say(console, line)
        table = _printed(own)
        console.print(table)
        for line in _answers(own):
            say(console, line)
        say(console, "why, and what each theory assumes: the page, and `reason` in verdicts.json")
    else:
        _print_means(console, point_means(evaluation.table))
    for line in lines(evaluation.not_asked):
        say(console, f"not asked: {line}")
    if not any(setting.known for setting in settings(evaluation.table)):
        say(console, NO_RATE)


ANSWERS = 6
"""Laws and settings whose answer is printed, and predictions of the user's own; of more those that
are decided come first, and the page has all."""


def _answers(own: Mapping[Group, Sequence[Verdict]]) -> list[str]:
    """A sentence on each law and setting, with the reason where it stays open."""
    found = [(group, told, v) for group, vs in own.items() for told, v in answers(vs).items()]
    lines = []
    for every in (found, own_answers(own)):
        for group, told, v in decided_first(every, ANSWERS):
            said = ": ".join(filter(None, (v.own, as_text(lead(group, v, None, told)))))
            lines.append(": ".join(filter(None, (said.removesuffix("."), why_open(v)))))
        if (left := len(every) - ANSWERS) > 0:
            lines.append(f"and {left} more, which are in the table and on the page")
    return lines


def _print_means(console: Console, means: pd.DataFrame) -> None:
    """What there is without a rate, a row a point."""
    if means.empty:
        return
    table = Printed(pad_edge=False)
    for name in MEAN_HEADS:
        table.add_column(name, justify="left" if name in ("law", "trainer") else "right")
    for cells in mean_cells(means.head(MEANS_SHOWN)):
        table.add_row(*map(literal, cells))
    console.print(table)
    left = len(means) - MEANS_SHOWN
    more = f"; {left} more points in results.parquet" if left > 0 else ""
    say(console, f"no rate: an axis with three values or more has one{more}")


def _alike(evaluation: Evaluation, own: Mapping[Group, Sequence[Verdict]]) -> list[str]:
    """What all rows of the verdict table have in common, said above it: law and dimension; and what
    the laws of files are."""
    laws, dimensions = ({group[i] for group in own} for i in (0, 1))
    labels = {v.law for v in evaluation}
    told = []
    if len(laws) == 1:
        (law,) = laws if len(labels) > 1 or any(map(data_file, labels)) else labels
        told.append(f"law: {law}")
    if len(dimensions) == 1:
        told.append(f"d = {min(dimensions)}")
    files = of_files(evaluation.table.trials["law_label"].astype(str).unique())
    return list(filter(None, (", ".join(told), files)))


def _printed(own: Mapping[Group, Sequence[Verdict]]) -> Printed:
    """The verdict table, what differs between its rows alone; at large values are the limits of b
    by which a verdict is reached. Of a ceiling the largest level mean stands in place of b."""
    rows = [row for group, verdicts in own.items() for row in _rows(group, verdicts)]
    names = (
        *("law", "d", "quantity", "axis", "setting", "theory", "measured", "interval"),
        *("at large values", "verdict"),
    )
    laws, dimensions = ({group[i] for group in own} for i in (0, 1))
    shown = dict.fromkeys(names, True) | {"law": len(laws) > 1, "d": len(dimensions) > 1}
    shown["setting"] = any(row[names.index("setting")] for row in rows)
    table = Printed(pad_edge=False)
    for name in filter(shown.get, names):
        justify: JustifyMethod = "right" if name in ("d", "theory", "measured") else "left"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name == "verdict")
    for row in rows:
        seen = (cell for name, cell in zip(names, row, strict=True) if shown[name])
        table.add_row(*map(literal, seen))
    return table


def _rows(group: Group, verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ...]]:
    """The cells of a law and dimension, the settings of a prediction below each other."""
    asked: dict[str, list[Verdict]] = {}
    for v in verdicts:
        asked.setdefault(v.prediction, []).append(v)
    for v in (v for alike in asked.values() for v in alike):
        large = None if flat(v) else v.at_large
        value, low, high = v.measured
        said = f"{v.said:g}" if v.kind == Kind.CEILING else f"{v.said:.2f}"
        told = setting_of(v, asked[v.prediction], verdicts)
        draws = f"{len(v.draws)} draws" if v.draws else ""
        yield (
            group[0],
            str(group[1]),
            ": ".join(filter(None, (v.own, str(v.quantity).replace("_", " ")))) + v.by,
            PLAIN.get(v.axis, v.axis),
            ", ".join(filter(None, (told, draws))),
            v.relation + said,
            f"{value:.2f}" if pd.notna(value) else "-",
            _interval(low, high),
            "-" if large is None else _interval(large.low, large.high),
            str(v.verdict),
        )


def _interval(low: float, high: float) -> str:
    return f"[{low:.2f}, {high:.2f}]" if pd.notna(low) else "-"
