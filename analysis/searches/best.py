"""What tuning chose: the hyperparameters of each search's best evaluation, and of theory's choice.

| name       | meaning                                                                          |
|------------|----------------------------------------------------------------------------------|
| loss       | the held-out denoising loss at `step`, unit x^2: all that the choice knows       |
| below_     | the median loss of all evaluations on the data of the same repetition, less the  |
| median     | loss: what is left of it without the luck of the data                            |
| step       | where to stop: the step of a search's least loss; of theory, its a-priori rule's |
| importance | share of a hyperparameter alone in the variance of the losses' ranks (fANOVA)     |

The least loss of n evaluations is biased low: it was chosen for being low. The score error beside
it was not looked at, and is not.
"""

from __future__ import annotations

import json
from typing import Any

import fsspec
import numpy as np
import pandas as pd

from analysis.data.schema import ResultsError, opened
from analysis.data.table import Table
from analysis.searches.tuning import GUIDED, NOT_SEARCHED, POINT, guided

FILE = "search.json"

HYPERPARAMETERS = {
    "width": "width", "step_size": "step_size", "initialisation": "initialisation",
    "feature_bias": "bias", "trainer": "trainer",
}  # fmt: skip
"""Columns of the results table that a search may choose -> their names in a study."""

IMPORTANCE = [*POINT, "hyperparameter", "importance", "evaluations", "samplers"]
"""Columns of the table of importance, one row for each point and hyperparameter, and of how many
evaluations of which samplers. A share is that of one alone: what those of a point leave of 1 is of
several together."""

_CHOICE = [
    *POINT, "method", "repetition", "evaluations", "pruned", "failed", "trial_id",
    *HYPERPARAMETERS.values(), "step", "effective_time", "loss", "below_median", "score_error",
]  # fmt: skip


def chosen(evaluations: pd.DataFrame, frame: pd.DataFrame | Table) -> pd.DataFrame:
    """A row for each search, the evaluation with the least loss, then one for each theory-guided
    trial, stopped a priori; those of one point together.

    evaluations: as of `load_evaluations`. frame: the results table, with their trials. Columns:
    those of POINT, method (a sampler, or `theory`), repetition, evaluations, pruned and failed
    (how many of them), trial_id, the hyperparameters under a study's names, step, effective_time
    (eta tau), loss, below_median, score_error. Trials that the results table does not hold are no
    choice, and a search without any other with a value is left out.
    """
    table = Table.of(frame)
    held = set(table.trials["trial_id"])
    rows: list[dict[str, Any]] = []
    searched = evaluations[~evaluations["method"].isin(NOT_SEARCHED)]
    for _, own in searched.groupby([*POINT, "method", "repetition"], sort=False):
        known = own[own["value"].notna() & own["trial_id"].isin(held)]
        if known.empty:
            continue
        best = known.sort_values("value", kind="stable").iloc[0]
        states = own["state"].value_counts()
        rows.append(
            {
                **{name: best[name] for name in [*POINT, "method", "repetition", "trial_id"]},
                "evaluations": len(own),
                "pruned": int(states.get("PRUNED", 0)),
                "failed": int(states.get("FAIL", 0)),
                "step": int(best["step"]),
                "loss": float(best["value"]),
                "score_error": float(best["score_error"]),
            }
        )
    stopped = guided(evaluations, table)
    if len(stopped):
        for _, stop in stopped[stopped["rule"] == "a_priori"].iterrows():
            if not np.isfinite(stop["holdout_loss"]):  # it never stopped
                continue
            same = {name: stop[name] for name in [*POINT, "repetition", "trial_id", "score_error"]}
            rows.append(
                {**same, "method": GUIDED, "evaluations": 1, "pruned": 0, "failed": 0,
                 "step": int(stop["step"]), "loss": float(stop["holdout_loss"])}
            )  # fmt: skip
    made = {*HYPERPARAMETERS.values(), "effective_time", "below_median"}
    plain = [name for name in _CHOICE if name not in made]
    found = with_hyperparameters(pd.DataFrame(rows, columns=plain), table)
    found["effective_time"] = found["step_size"] * found["step"]
    keys = [*POINT, "repetition"]
    medians = searched.groupby(keys)["value"].median().rename("below_median").reset_index()
    found = found.merge(medians, how="left", on=keys)
    found["below_median"] -= found["loss"]
    return found[_CHOICE].sort_values(POINT, kind="stable", ignore_index=True)


def with_hyperparameters(evaluations: pd.DataFrame, frame: pd.DataFrame | Table) -> pd.DataFrame:
    """The rows of `evaluations` whose trial the results table holds, with its hyperparameters
    beside them, under a study's names."""
    trials = Table.of(frame).trials[["trial_id", *HYPERPARAMETERS]].rename(columns=HYPERPARAMETERS)
    return evaluations.merge(trials, on="trial_id")


def winners(choices: pd.DataFrame, method: str | None = None) -> pd.DataFrame:
    """Of `chosen`, a row at each point, of all searches or of one method: what to train with there,
    where no finals say it. Repetitions differ in their data: of each the least loss, and of these
    the one that is furthest below its repetition's median loss."""
    own = leaders(choices, method)
    best = own.sort_values("below_median", ascending=False, kind="stable")
    return best.drop_duplicates(POINT).sort_values(POINT, kind="stable", ignore_index=True)


def leaders(choices: pd.DataFrame, method: str | None = None) -> pd.DataFrame:
    """Of `chosen`, the row with the least loss of each repetition at each point, of all searches or
    of one method."""
    wanted = choices["method"] != GUIDED if method is None else choices["method"] == method
    own, keys = choices[wanted], [*POINT, "repetition"]
    return own.loc[own.groupby(keys, sort=True)["loss"].idxmin()].reset_index(drop=True)


def described(**tables: pd.DataFrame) -> str:
    """Tables as the text of search.json: lists of rows, by their names (`best`, of `chosen`;
    `finals` and `tuned_against_theory`, of `analysis.searches.finals`; `importance`)."""

    def plain(value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and not np.isfinite(value) else value

    rows = {
        name: [{k: plain(v) for k, v in row.items()} for row in table.to_dict("records")]
        for name, table in tables.items()
    }
    return json.dumps(rows, indent=2, allow_nan=False) + "\n"


def load_importance(source: str) -> pd.DataFrame:
    """The table of importance from search.json beside the results in `source`; empty where there
    is none: of results from before it, or of too few evaluations; and where it is an earlier
    version's, a search at a time. Raises ResultsError."""
    filesystem, path = fsspec.core.url_to_fs(str(source))
    name = f"{path.rstrip('/')}/{FILE}"
    if not filesystem.isfile(name):
        return no_importance()
    with opened(filesystem, name) as file:
        text = file.read()
    try:
        return pd.DataFrame(json.loads(text)["importance"], columns=IMPORTANCE).dropna()
    except (ValueError, KeyError, TypeError):
        raise ResultsError(
            f"{name}: not what a search writes: remove it, and `scorerates search` makes it anew"
        ) from None


def no_importance() -> pd.DataFrame:
    """A table of importance without rows."""
    return pd.DataFrame(columns=IMPORTANCE)
