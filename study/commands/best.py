"""`scorerates best`: what a search found, as a section of a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis.data.schema import ResultsError
from analysis.data.table import load_table
from analysis.searches.best import HYPERPARAMETERS, chosen, winners
from analysis.searches.tuning import GUIDED, load_evaluations
from study.commands.located import owned
from study.spec.axes import AXES
from study.spec.messages import SpecError
from study.spec.search import SearchSection
from study.spec.sections import StudySpec
from study.storage.store import Store, StoreError

FRESH_SEEDS = 8

_COLUMNS = {**{axis: axis for axis in AXES}, "bias": "feature_bias"}
"""Axis of a study -> its column of the results table."""


def best(
    store: Store, spec: StudySpec | None, samples: int | None = None, method: str | None = None
) -> str:
    """A section `base:` with the hyperparameters that won, and the `steps` to stop at, in YAML; a
    document for each point of the search, under a comment on what it is. It takes the place of
    `base`, `steps` and `search` in the search's study.

    samples: of this N only. method: a sampler, or `theory` for theory's choice; by default the
    search with the least held-out loss. Raises SpecError for one that is not there and for a study
    that is no search, StoreError where no search has finished.
    """
    spec = owned(store, spec)
    section = spec.searched()
    if method == GUIDED and section.theory is None:
        raise SpecError(
            f"--method theory needs search.theory, which study {spec.name!r} does not set: add "
            "`theory: {}` to its section search, and `scorerates search` makes theory's choice"
        )
    evaluations = load_evaluations(store.url)
    if evaluations is None:
        raise StoreError(
            f"{store.place}: no search of study {spec.name!r} has ended here: start it with "
            "`scorerates search` first"
        )
    try:
        table = load_table(f"{store.url}/results.parquet")
    except ResultsError as error:
        raise StoreError(
            f"{store.place}: this search has not ended yet, the same `scorerates search` command "
            f"goes on: {error}"
        ) from None
    found = chosen(evaluations, table)
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
    if rows.empty:
        raise StoreError(f"{store.place}: no evaluation of this search has a held-out loss")
    trials = table.trials.set_index("trial_id")
    documents = [
        _section(spec, section, row, trials.loc[row["trial_id"]], method)
        for _, row in rows.iterrows()
    ]
    return _on_several(len(documents)) + "---\n".join(documents)


def _on_several(documents: int) -> str:
    """A comment where there is more than can be pasted."""
    if documents == 1:
        return ""
    return (
        f"# {documents} documents, one for each law and N: a study takes one of them. Use "
        "--samples N for that of one N.\n"
    )


def _section(
    spec: StudySpec, section: SearchSection, row: pd.Series[Any], trial: Any, method: str | None
) -> str:
    given = spec.base.given()
    kept = [axis for axis in AXES if axis in given or axis in HYPERPARAMETERS.values()]
    values = {axis: _plain(trial[_COLUMNS[axis]]) for axis in kept}
    if values.get("copies") == 0:
        values["copies"] = "fresh"
    steps = max(row["step"], 1)
    if "steps" in values:
        values["steps"] = steps
    who = "theory's choice" if method == GUIDED else f"{row['evaluations']} evaluations"
    if method != GUIDED:
        who += f" of {row['method']}"
    lines = [
        f"# {spec.name}: {row['law_label']}, d = {row['dimension']}, N = {row['samples']}; {who}, "
        f"repetition {row['repetition']}",
        f"# Stop at step {row['step']} (effective time {row['effective_time']:.4g}): held-out loss "
        f"{row['loss']:.5g}, score error {row['score_error']:.4g}",
        "# In place of base, steps and search of the study, with a name of its own:",
        yaml.safe_dump({"base": values}, sort_keys=False).rstrip(),
    ]
    if "steps" not in values:
        lines.append(f"steps: {steps}  # stops there; more steps record what comes after")
    fresh = list(range(section.repetitions, section.repetitions + FRESH_SEEDS))
    lines.append(f"# seeds: {fresh}  # data and weights that the search has not seen")
    if spec.audit:
        lines.append("# audit: false  # leaves out measuring the theory's assumptions")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value
