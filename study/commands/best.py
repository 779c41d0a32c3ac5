"""`scorerates best`: what a search found, as a section of a study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.schema import ResultsError
from analysis.data.table import Table, load_table
from analysis.searches.answers import RULE, at, errors, outcome
from analysis.searches.best import HYPERPARAMETERS, chosen, winners
from analysis.searches.finals import duels, finals
from analysis.searches.tuning import GUIDED, POINT, load_evaluations
from analysis.text import counted
from study.commands.located import owned
from study.spec.axes import AXES
from study.spec.messages import SpecError
from study.spec.search import SearchSection
from study.spec.sections import NAME, StudySpec
from study.spec.strict_yaml import read_yaml, write_yaml
from study.storage.store import Store, StoreError

FRESH_SEEDS = 8

_COLUMNS = {**{axis: axis for axis in AXES}, "bias": "feature_bias"}
"""Axis of a study -> its column of the results table."""


def best(
    store: Store,
    spec: StudySpec | None,
    samples: int | None = None,
    method: str | None = None,
    study: str | None = None,
) -> str:
    """A section `base:` with the hyperparameters that won, and the `steps` to stop at, in YAML; a
    document for each point of the search, under a comment on what it is. It takes the place of
    `base`, `steps` and `search` in the search's study.

    samples: of this N only. method: a sampler, or `theory` for theory's choice; by default the
    winner of the finals, and where there were none, of each repetition the least held-out loss, and
    of these the one furthest below its repetition's median. study: the name of a whole study to
    print, with `law` and all else, in place of the section. Raises SpecError for what is not there,
    for a study that is no search and for several documents with `study`, StoreError where no search
    has finished.
    """
    if study is not None:
        study = study.removesuffix(".yaml")
        if not re.match(NAME, study):
            raise SpecError(
                f"--study {study!r}: a name has letters, digits and . _ - alone, 100 at most, and "
                "begins with a letter or digit"
            )
    spec = owned(store, spec)
    section = spec.searched()
    if method == GUIDED and section.theory is None:
        raise SpecError(
            f"--method theory needs search.theory, which study {spec.name!r} does not set: add "
            "`theory: {}` to its section search, and `scorerates search` makes theory's choice"
        )
    evaluations, table = _results(store, spec)
    found = chosen(evaluations, table)
    last = finals(evaluations, found)
    for option, column, value in (
        ("--samples", "samples", samples),
        ("--method", "method", method),
    ):
        if value is not None:
            there = ", ".join(map(str, found[column].unique()))
            found = found[found[column] == value]
            if found.empty:
                raise SpecError(f"{option} {value}: not of this search, which has {there}")
    rows = winners(found, method)
    if rows.empty and last.empty:
        raise StoreError(f"{store.place}: no evaluation of this search has a held-out loss")
    met = duels(evaluations, last)
    made = []
    for _, point in found[POINT].drop_duplicates().sort_values(POINT).iterrows():
        won = at(point, last)
        ours = won["chosen"].map(lambda ids: not set(found["trial_id"]).isdisjoint(ids.split()))
        won = won[won["place"].notna() & ours.astype(bool)]
        if len(won):
            made.append(_of_the_finals(won.iloc[0], at(point, met)))
        else:
            made += [_of_a_search(row, section, method) for _, row in at(point, rows).iterrows()]
    if study is not None and len(made) > 1:
        raise SpecError(
            f"--study {study}: prints one study, and this search has {len(made)} points: give "
            "--samples N; of several laws or t_min, paste the section of one"
        )
    documents = [_document(spec, section, one, table.trials, study) for one in made]
    return _on_several(len(documents)) + "---\n".join(documents)


def _results(store: Store, spec: StudySpec) -> tuple[pd.DataFrame, Table]:
    """The table of evaluations and the results table. Raises StoreError."""
    evaluations = load_evaluations(store.url)
    if evaluations is None:
        raise StoreError(
            f"{store.place}: no search of study {spec.name!r} has ended here: start it with "
            "`scorerates search` first"
        )
    try:
        return evaluations, load_table(f"{store.url}/results.parquet")
    except ResultsError as error:
        raise StoreError(
            f"{store.place}: this search has not ended yet, the same `scorerates search` command "
            f"goes on: {error}"
        ) from None


def _on_several(documents: int) -> str:
    """A comment where there is more than can be pasted."""
    if documents == 1:
        return ""
    return (
        f"# {documents} documents, one for each law and N: a study takes one of them. Use "
        "--samples N for that of one N.\n"
    )


@dataclass(frozen=True)
class _Choice:
    """What is printed: comments on it, its row (with `law_label` and `trial_id`), where to stop."""

    comments: Sequence[str]
    row: pd.Series[Any]
    steps: int
    why: str


def _where(row: pd.Series[Any]) -> str:
    return f"{row['law_label']}, d = {row['dimension']}, N = {row['samples']}"


def _of_the_finals(row: pd.Series[Any], met: pd.DataFrame) -> _Choice:
    place = "winner" if row["place"] == 1 else f"place {row['place']:.0f}"
    comments = [f"{_where(row)}; {place} of the finals: {row['chosen_by']}", outcome(row)]
    comments += list(met["said"]) if row["place"] == 1 else []
    seeds = counted(int(row["seeds"]), "fresh seed")
    why = f"stops there, the median over {seeds}; more steps record what comes after"
    return _Choice(comments, row, max(round(row["step"]), 1), why)


def _of_a_search(row: pd.Series[Any], section: SearchSection, method: str | None) -> _Choice:
    who = "theory's choice" if method == GUIDED else f"{row['evaluations']} evaluations"
    if method != GUIDED:
        who += f" of {row['method']}"
    comments = [
        f"{_where(row)}; {who}, repetition {row['repetition']}",
        f"Stop at step {row['step']} (effective time {row['effective_time']:.4g}): {errors(row)}",
    ]
    if section.repetitions > 1:
        comments.append(f"Chosen without finals: {RULE}")
    return _Choice(
        comments, row, max(row["step"], 1), "stops there; more steps record what comes after"
    )


def _document(
    spec: StudySpec,
    section: SearchSection,
    choice: _Choice,
    trials: pd.DataFrame,
    study: str | None,
) -> str:
    trial = trials.set_index("trial_id").loc[choice.row["trial_id"]]
    given = spec.base.given()
    several = ("t_min",) if len(spec.diffusion.t_min) > 1 else ()
    chosen_here = (*HYPERPARAMETERS.values(), *several)
    kept = [axis for axis in AXES if axis in given or axis in chosen_here]
    values = {axis: _plain(trial[_COLUMNS[axis]]) for axis in kept}
    if values.get("copies") == 0:
        values["copies"] = "fresh"
    if "steps" in values:
        values["steps"] = choice.steps
    first, *others = choice.comments
    lines = [f"# {spec.name}: {first}", *(f"# {line}" for line in others)]
    if study is None:
        lines.append("# In place of base, steps and search of the study, with a name of its own:")
        if several:
            lines.append("# (and of diffusion.t_min, of which this is for one value)")
    else:
        lines.append(write_yaml(_rest(spec, choice.row, study)))
    lines.append(write_yaml({"base": values}))
    if "steps" not in values:
        lines.append(f"steps: {choice.steps}  # {choice.why}")
    fresh = list(range(section.repetitions, section.repetitions + FRESH_SEEDS))
    off = "# " if study is None else ""
    lines.append(f"{off}seeds: {fresh}  # data and weights that the search has not seen")
    if spec.audit:
        lines.append("# audit: false  # leaves out measuring the theory's assumptions")
    return "\n".join(lines) + "\n"


def _rest(spec: StudySpec, row: pd.Series[Any], name: str) -> dict[str, Any]:
    """What the search's study says beside what is chosen, of the row's law."""
    said = {k: v for k, v in read_yaml(spec.text).items() if k not in _REPLACED}
    if len(spec.diffusion.t_min) > 1:  # base has the row's
        said["diffusion"] = {k: v for k, v in said["diffusion"].items() if k != "t_min"}
    if isinstance(said["law"], list):
        at = [law.label for law in spec.law].index(row["law_label"])
        said["law"] = said["law"][at]
    return {"name": name, **said}


_REPLACED = ("name", "description", "base", "steps", "search")


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value
