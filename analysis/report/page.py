"""The report of a study: one self-contained HTML page, its figures as files, and their numbers.

The page loads nothing: all is inline. It reads in the dark, on a phone and in print.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis import text
from analysis.data.curves.point_means import point_means
from analysis.data.files import write_whole
from analysis.data.sweeps import (
    PLAIN,
    Setting,
    data_file,
    law_names,
    settings,
    standardised,
)
from analysis.data.table import Table
from analysis.drawing.plot import Plot, Topic
from analysis.drawing.style import palette_css
from analysis.drawing.together import render_all
from analysis.figures.rates.answer import groups
from analysis.figures.rates.curves import owns
from analysis.figures.rates.noise import MEASURES, noise_tables
from analysis.figures.rates.possible import distances
from analysis.figures.stops import stopping_table
from analysis.figures.study import Omitted, study_plots
from analysis.figures.terms import TERMS, dominance
from analysis.figures.tuning import choice_rows, final_rows, tuning_plots, tuning_rows
from analysis.report import wording
from analysis.report.assumptions import assumption_rows
from analysis.report.overview import FINE, SOFTWARE, facts, trial_table, trouble, versions
from analysis.report.theories import matrix
from analysis.report.typeset import typeset
from analysis.searches.answers import Answer, answers
from analysis.searches.best import chosen, no_importance
from analysis.searches.finals import duels, finals
from analysis.searches.tuning import FINAL, comparisons
from analysis.theory import KEYS, THEORIES
from analysis.theory.papers import PAPERS, Paper
from analysis.verdicts.asking import lines
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import Verdict
from analysis.verdicts.own import Stated

_STYLE = re.compile(r' style="([^"]*)"')
MEANS_SHOWN = 50  # points, of a study without a rate
_INLINE = 2**15  # bytes of a download that the page itself holds
REDRAW = '''"""Redraws the figures of this folder from ../results.parquet. Needs scorerates.

    python redraw.py                     every figure, as SVG and PDF
    python redraw.py NAME [NAME ...]     those whose file name holds NAME

`redraw(..., change=function)` calls function(name, figure), with a matplotlib figure, before each
is saved.
"""

import sys

from analysis import redraw

print(*redraw(__file__, sys.argv[1:]THEORIES), sep="\\n")
'''


@dataclass(frozen=True)
class Shown:
    """A figure on the page: its plot, its panels drawn, and what these draw letters with."""

    plot: Plot
    inline: tuple[str, ...]
    glyphs: Mapping[str, str] = field(default_factory=dict)


def write_report(
    folder: Path,
    evaluation: Evaluation,
    spec_text: str = "",
    tuning: pd.DataFrame | None = None,
    notes: Sequence[tuple[str, str]] = (),
    registered: str = "",
    description: str = "",
    importance: pd.DataFrame | None = None,
) -> Path:
    """Writes `folder/report.html` and `folder/figures/` for a results table; returns the page.

    evaluation: as `evaluate` gives it; without an audit the page says that assumptions were not
    measured. spec_text: the study's YAML, shown as it is. tuning: a search's table, as
    `load_evaluations` gives it, beside an `Evaluation.unjudged`: the page then compares tuned with
    theory-guided, and fits nothing to trials that were chosen by their results. notes: more to say
    of the study, as term and description. registered: whether the predictions were fixed before the
    data, as `analysis.theory.record.compared` says it. description: the study's own. importance: of
    a search's hyperparameters, as `load_importance` gives it.
    figures/ holds each figure as SVG and PDF, its numbers as CSV, and redraw.py, which makes them
    again from results.parquet in `folder`; and each trial's stops as stops.parquet and
    stops.csv.gz. Each file is written, then renamed: a reader never sees half a page.
    """
    place = folder / "figures"
    _write_stops(place, evaluation.stops)
    plots, omitted = study_plots(evaluation) if tuning is None else ([], [])
    plots += [] if tuning is None else tuning_plots(tuning, evaluation.table, importance)
    shown = []
    for plot, drawn in zip(plots, render_all(plots), strict=True):
        numbers = plot.table.to_csv(index=False).encode()
        write_whole(place / f"{plot.name}.svg", drawn.svg.encode())
        write_whole(place / f"{plot.name}.pdf", drawn.pdf)
        write_whole(place / f"{plot.name}.csv", numbers)
        shown.append(Shown(plot, drawn.inline, drawn.glyphs))
    shown, css = _styled(shown)
    chosen = "" if evaluation.theories == KEYS else f", theories={list(evaluation.theories)}"
    if stated := [asdict(one) for one in evaluation.own if isinstance(one, Stated)]:
        chosen += f", own={stated}"
    write_whole(place / "redraw.py", REDRAW.replace("THEORIES", chosen).encode())
    page = (
        _environment()
        .get_template("report.html")
        .render(
            **_content(
                evaluation, spec_text, shown, css, omitted, tuning, importance, notes, place
            ),
            registered=registered,
            description=description,
        )
    )
    write_whole(folder / "report.html", page.encode())
    return folder / "report.html"


def download(name: str, content: bytes, text: str, place: Path | None = None) -> Markup:
    """A link that saves `content` as a file, without a network. What is more than a page should
    hold is written to `place`, the folder figures/, and linked to."""
    if place is not None and len(content) > _INLINE:
        write_whole(place / name, content)
        return Markup('<a download href="figures/{}">{}</a>').format(name, text)
    kind = "application/json" if name.endswith(".json") else "text/csv"
    data = base64.b64encode(content).decode()
    return Markup('<a download="{}" href="data:{};base64,{}">{}</a>').format(name, kind, data, text)


def _write_stops(place: Path, stopped: pd.DataFrame) -> None:
    write_whole(place / "stops.parquet", stopped.to_parquet(index=False))
    write_whole(
        place / "stops.csv.gz", gzip.compress(stopped.to_csv(index=False).encode(), mtime=0)
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    return environment


def _styled(shown: Sequence[Shown]) -> tuple[list[Shown], str]:
    """The figures with each style that they have in common as a class, and the CSS of these."""
    found = Counter(style for s in shown for svg in s.inline for style in _STYLE.findall(svg))
    names = {style: f"k{number}" for number, (style, _count) in enumerate(found.most_common())}

    def named(svg: str) -> str:
        return _STYLE.sub(lambda m: f' class="{names[m[1]]}"', svg)

    made = [replace(s, inline=tuple(map(named, s.inline))) for s in shown]
    return made, "".join(f".{name}{{{style}}}" for style, name in names.items())


# --- what the page says -------------------------------------------------------------------------


def _content(
    evaluation: Evaluation,
    spec_text: str,
    shown: Sequence[Shown],
    css: str,
    omitted: Sequence[Omitted],
    tuning: pd.DataFrame | None,
    importance: pd.DataFrame | None,
    notes: Sequence[tuple[str, str]],
    place: Path,
) -> dict[str, Any]:
    frame, verdicts = evaluation.table, evaluation.verdicts
    every = settings(frame)
    found = every if tuning is None else []
    unknown = [s.label for s in every if not s.known]
    if tuning is not None:  # its settings are what was searched over
        laws = {str(s.frame.trials["law_label"].iloc[0]) for s in every if not s.known}
        unknown = sorted(data_file(law) or law for law in laws)
    names = law_names(frame)
    trials = trial_table(frame)
    entries = [v.to_dict() for v in verdicts]
    as_json = json.dumps(entries, indent=1, ensure_ascii=False).encode()
    tables = _tables(evaluation, found, tuning)
    sections = []
    for topic in Topic:
        families = _families([s for s in shown if s.plot.topic is topic])
        section = {
            "id": topic.name.lower(),
            "label": str(topic),
            "families": [f for f in families if not f["aside"]],
            "asides": [f for f in families if f["aside"]],
            **dict.fromkeys(("noise", "tuning", "dominance", "possible", "stopping", "audits"), ()),
            **tables.get(topic, {}),
        }
        if topic is not Topic.ANSWER and (families or topic in tables):
            sections.append(section)
    by_group = groups(verdicts, names)
    return {
        "study": ", ".join(sorted(frame.trials["study"].dropna().astype(str).unique())) or "study",
        "palette": Markup(palette_css() + css),
        "glyphs": {name: Markup(path) for s in shown for name, path in s.glyphs.items()},
        "leads": [*wording.leads(by_group), *wording.own_leads(by_group)],
        "top": [s for s in shown if s.plot.topic is Topic.ANSWER],
        "tally": wording.tally(verdicts),
        "questions": questions(verdicts, names),
        "matrix": matrix(evaluation, names),
        "not_asked": lines(evaluation.not_asked),
        "unknown": unknown,
        "uncovered": wording.uncovered(verdicts, frame.trials),
        "meanings": wording.MEANINGS,
        "level": text.share(verdicts[0].level) if verdicts else "",
        "adjustment": wording.adjustment(verdicts),
        "sections": sections,
        "of_files": wording.of_files(frame.trials["law_label"].astype(str).unique()),
        "standardised": any(map(standardised, frame.trials["law_label"].astype(str).unique())),
        "omitted": _omitted(omitted),
        "status": trials["status"].value_counts().to_dict(),
        "trouble": trouble(trials),
        "trouble_total": int((~trials["status"].isin(FINE)).sum()),
        "facts": facts(frame, trials, notes),
        "papers": papers(evaluation),
        "software": SOFTWARE,
        "spec": spec_text,
        "command": "run" if tuning is None else "search",
        "found_best": found_best(tuning, frame, importance),
        "has_finals": tuning is not None and (tuning["method"] == FINAL).any(),
        "means": _means(frame) if tuning is None and not verdicts else [],
        "mean_heads": wording.MEAN_HEADS,
        "versions": versions(),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "downloads": [
            download("verdicts.json", as_json, "verdicts (JSON)", place),
            download("verdicts.csv", _verdict_csv(entries), "verdicts (CSV)", place),
            download("trials.csv", trials.to_csv(index=False).encode(), "trials (CSV)", place),
        ],
    }


def _tables(
    evaluation: Evaluation, found: Sequence[Setting], tuning: pd.DataFrame | None
) -> dict[Topic, dict[str, Any]]:
    """The tables of each topic; those of settings with the setting's label. A setting whose f* is
    not known has none of them: each holds something against f*."""
    found = [s for s in found if s.known]

    def of_settings(rows: Callable[[Setting], dict[str, Any] | None]) -> list[dict[str, Any]]:
        return [{**made, "label": s.label} for s in found if (made := rows(s)) is not None]

    audits = [
        {
            "label": s.label,
            "audited_in": s.audited_in,
            "rows": assumption_rows(s, evaluation.audit),
        }
        for s in found
    ]
    made: dict[Topic, dict[str, Any]] = {
        Topic.TERMS: {"dominance": of_settings(lambda s: dominance_rows(s.label, dominance(s)))},
        Topic.POSSIBLE: {"possible": of_settings(lambda s: possible_rows(s, evaluation))},
        Topic.STOPPING: {"stopping": of_settings(lambda s: stopping_rows(s, evaluation.stops))},
        Topic.NOISE: {"noise": noise_rows(evaluation)},
        Topic.TUNING: {"tuning": tuning_tables(tuning, evaluation.table)},
        Topic.ASSUMPTIONS: {"audits": audits},
    }
    return {topic: own for topic, own in made.items() if any(own.values())}


def _families(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """Figures of one title beside each other, their sentence said once where it is the same."""
    made: dict[tuple[str, bool], list[Shown]] = {}
    for one in shown:
        made.setdefault((one.plot.title, one.plot.aside), []).append(one)
    families = []
    for (title, aside), own in made.items():
        captions = list(dict.fromkeys(s.plot.caption for s in own))
        shared = captions[0] if len(captions) == 1 else ""
        families.append({"title": title, "aside": aside, "caption": shared, "cells": own})
    return families


def _omitted(omitted: Sequence[Omitted]) -> list[tuple[str, str, list[str]]]:
    """Title, reason, and the settings of which it is so."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in omitted:
        found.setdefault((one.title, one.reason), []).append(one.group)
    return [(*key, own) for key, own in found.items()]


def questions(verdicts: Sequence[Verdict], names: dict[str, str]) -> list[dict[str, Any]]:
    """The verdict table: for each prediction what theory says of it, and a row for each law."""
    made: dict[str, dict[str, Any]] = {}
    for (law, d), own in groups(verdicts, names).items():
        for verdict in own:
            row = verdict_row(verdict, own)
            key = f"{row['question']}, {verdict.prediction}"
            asked = {k: row[k] for k in ("question", "source", "name")}
            made.setdefault(key, {**asked, "rows": []})["rows"].append(
                {**row, "law": f"{law}, d = {d}"}
            )
    for one in made.values():
        several = len({row["statement"] for row in one["rows"]}) > 1
        one["statement"] = "" if several else one["rows"][0]["statement"]
    return list(made.values())


def papers(evaluation: Evaluation) -> list[tuple[Paper, str, str]]:
    """The papers of the theories that were judged, the theories' names, and their entries."""
    judged = {v.theory_key for v in (*evaluation, *evaluation.unasked)}
    named: dict[str, list[str]] = {}
    for theory in THEORIES:
        if theory.key in judged:
            named.setdefault(theory.paper, []).append(theory.name)
    return [(PAPERS[k], ", ".join(own), PAPERS[k].bibtex(k)) for k, own in named.items()]


def verdict_row(verdict: Verdict, beside: Sequence[Verdict] = ()) -> dict[str, Any]:
    """A row of the verdict table, in words; `beside` are those of the same law and dimension."""
    value, low, high = verdict.measured
    name = wording.QUANTITIES.get(verdict.quantity, verdict.quantity.replace("_", " "))
    axis = PLAIN.get(verdict.axis, verdict.axis)
    return {
        "question": ": ".join(filter(None, (verdict.own, f"{name} against {axis}{verdict.by}"))),
        "where": wording.where(verdict, beside),
        "statement": verdict.statement,
        "theory": wording.theory(verdict),
        "measured": text.number(value, text.digits(low, high)),
        "plain": text.interval(low, high),
        "at_large": wording.at_large(verdict),
        "wide": wording.infinite_width(verdict),
        "wide_measured": verdict.infinite_width is not None and verdict.infinite_width.measured,
        "wide_note": verdict.infinite_width.message if verdict.infinite_width else "",
        "adjusted": text.interval(*verdict.adjusted),
        "data": wording.data(verdict),
        "badge": wording.badge(verdict),
        "reason": verdict.reason,
        "name": verdict.theory,
        "broken": wording.broken(verdict),
        "assumed": wording.assumed(verdict),
        "source": verdict.source,
    }


def dominance_rows(label: str, table: pd.DataFrame | None) -> dict[str, Any] | None:
    """The table "which term dominates where" as cells, with its download; None without one."""
    if table is None:
        return None
    rows = []
    for _, row in table.iterrows():
        shares = [f"{100 * row[term]:.0f} %" for term in TERMS]
        point = [f"{row['samples']:g}", f"{row['width']:g}", f"{row['step_size']:g}"]
        rows.append((point, shares, row["dominates"], int(row["trials"])))
    name = f"dominance_{'_'.join(label.replace(',', '').split())}.csv"
    return {
        "rows": rows,
        "terms": list(TERMS.values()),
        "link": download(name, table.to_csv(index=False).encode(), "this table (CSV)"),
    }


def possible_rows(setting: Setting, evaluation: Evaluation) -> dict[str, Any] | None:
    """The table of how far training is from what is possible as cells, with its download; None
    where it is not known."""
    mine = [curve for curve in evaluation.curves if owns(setting, curve)]
    rows, tables = [], []
    for where, table in distances(mine):
        tables.append(table.assign(where=where))
        for n, error, floor, ratio, low, high, count in table.itertuples(index=False):
            ends = f"{low:.3g} to {high:.3g}" if count > 1 else ""
            cells = (f"{error:.3g}", f"{floor:.3g}", f"{ratio:.3g}", ends)
            rows.append((where, f"{n:g}", *map(text.minus, cells), f"{count}"))
    if not rows:
        return None
    numbers = pd.concat(tables, ignore_index=True).to_csv(index=False).encode()
    name = f"possible_{setting.stem}.csv"
    return {"rows": rows, "link": download(name, numbers, "this table (CSV)")}


def noise_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The tables of what the noise of training does, as cells at the largest N that all share, each
    with its download."""
    made = []
    for number, (where, table) in enumerate(noise_tables(evaluation), 1):
        seen_by_all = table.groupby("samples").size()
        at = seen_by_all[seen_by_all == seen_by_all.max()].index.max()
        rows = []
        for noise, own in table[table["samples"] == at].groupby("noise", sort=False):
            cells = []
            for measure in MEASURES.values():
                row = own[own["measure"] == measure]
                cells.append(_ratio_cells(row.iloc[0]) if len(row) else ("", "", "", ""))
            rows.append((str(noise), cells))
        numbers = table.to_csv(index=False).encode()
        link = download(f"noise_{number}.csv", numbers, "these ratios at each N (CSV)")
        made.append({"where": where, "samples": f"{at:g}", "rows": rows, "link": link})
    return made


def _ratio_cells(row: pd.Series[Any]) -> tuple[str, str, str, str]:
    """The ratio and its ends, the exponent and its."""
    ends = "" if pd.isna(row["low"]) else f"{row['low']:.3g} to {row['high']:.3g}"
    exponent, low, high = (float(row[name]) for name in ("exponent", "ci_low", "ci_high"))
    if not math.isfinite(exponent):
        return (f"{row['ratio']:.3g}", ends, "", "")
    b = text.number(exponent, text.digits(low, high))
    return (f"{row['ratio']:.3g}", ends, b, text.interval(low, high))


def stopping_rows(setting: Setting, stops: pd.DataFrame) -> dict[str, Any] | None:
    """The table of stopping rules as cells, with its download; None without one."""
    table = stopping_table(setting, stops)
    if table is None:
        return None
    numbers = table["numbers"].to_csv(index=False).encode()
    return {
        **table,
        "link": download(f"regrets_{setting.stem}.csv", numbers, "this table and each N (CSV)"),
    }


def tuning_tables(tuning: pd.DataFrame | None, frame: Table) -> list[dict[str, Any]]:
    """Tuned against theory-guided, a table a point, and what each search and theory chose there and
    how that did in the finals, each with its download."""
    if tuning is None:
        return []
    made, choices = [], chosen(tuning, frame)
    last = finals(tuning, choices)
    for one in comparisons(tuning, frame):
        table = tuning_rows(one)
        for name, numbers in (
            ("", table["numbers"]),
            ("choices", one.own(choices)),
            ("finals", one.own(last)),
        ):
            file = "_".join(filter(None, (table["stem"], name)))
            saved = numbers.to_csv(index=False).encode()
            link = "_".join(filter(None, (name, "link")))
            table[link] = download(f"{file}.csv", saved, "this table (CSV)")
        table["choices"] = choice_rows(one.own(choices))
        table["finals"] = final_rows(one.own(last))
        made.append(table)
    return made


def found_best(
    tuning: pd.DataFrame | None, frame: Table, importance: pd.DataFrame | None
) -> list[Answer]:
    """What a search says at each point."""
    if tuning is None:
        return []
    choices = chosen(tuning, frame)
    last = finals(tuning, choices)
    shares = no_importance() if importance is None else importance
    return answers(choices, last, duels(tuning, last), shares)


def _means(frame: Table) -> list[tuple[str, ...]]:
    """Of a study without a rate the means of its points."""
    return wording.mean_cells(point_means(frame).head(MEANS_SHOWN))


def _verdict_csv(entries: Sequence[dict[str, Any]]) -> bytes:
    """Verdicts as a flat table; nested values as JSON."""
    flat = [
        {k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in entry.items()}
        for entry in entries
    ]
    return pd.DataFrame(flat).to_csv(index=False).encode()
