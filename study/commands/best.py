"""`scorerates best`: what a search found, as a section of a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis.data.schema import ResultsError
from analysis.data.table import load_table
from analysis.verdicts.best import HYPERPARAMETERS, chosen, winners
from analysis.verdicts.tuning import GUIDED, load_evaluations
from study.commands.located import owned
from study.spec.axes import AXES
from study.spec.messages import SpecError
from study.spec.sections import StudySpec
from study.storage.store import Store, StoreError

_COLUMNS = {**{axis: axis for axis in AXES}, "bias": "feature_bias"}
"""Axis of a study -> its column of the results table."""


def best(
    store: Store, spec: StudySpec | None, samples: int | None = None, method: str | None = None
) -> str:
    """A section `base:` with the hyperparameters that won, in YAML; a document for each point of
    the search, under a comment on what it is. It takes the place of `base` in the search's study,
    and of its `search`.

    samples: of this N only. method: a sampler, or `theory` for theory's choice; by default the
    search with the least held-out loss. Raises SpecError for one that is not there, StoreError
    where no search has finished.
    """
    spec = owned(store, spec)
    evaluations = load_evaluations(store.url) if spec.search is not None else None
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
    given = spec.base.given()
    return "---\n".join(
        _section(spec, given, row, trials.loc[row["trial_id"]], method)
        for _, row in rows.iterrows()
    )


def _section(
    spec: StudySpec, given: dict[str, Any], row: pd.Series[Any], trial: Any, method: str | None
) -> str:
    kept = [axis for axis in AXES if axis in given or axis in HYPERPARAMETERS.values()]
    values = {axis: _plain(trial[_COLUMNS[axis]]) for axis in kept}
    if values.get("copies") == 0:
        values["copies"] = "fresh"
    who = "theory's choice" if method == GUIDED else f"{row['evaluations']} evaluations"
    if method != GUIDED:
        who += f" of {row['method']}"
    lines = [
        f"# {spec.name}: {row['law_label']}, d = {row['dimension']}, N = {row['samples']}; {who}, "
        f"repetition {row['repetition']}",
        f"# Stop at step {row['step']} (effective time {row['effective_time']:.4g}): held-out loss "
        f"{row['loss']:.5g}, score error {row['score_error']:.4g}",
    ]
    return "\n".join(lines) + "\n" + yaml.safe_dump({"base": values}, sort_keys=False)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value
