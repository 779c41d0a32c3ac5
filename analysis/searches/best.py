"""What tuning chose: the hyperparameters of each search's best evaluation, and of theory's choice.

| name       | meaning                                                                          |
|------------|----------------------------------------------------------------------------------|
| loss       | the held-out denoising loss at `step`, unit x^2: all that the choice knows       |
| step       | where to stop: the step of a search's least loss; of theory, its a-priori rule's |
| importance | share of a hyperparameter in what tells the best tenth from the rest (PED-ANOVA) |

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

IMPORTANCE = [*POINT, "method", "repetition", "hyperparameter", "importance"]
"""Columns of the table of importance, one row for each search and hyperparameter; the shares of a
search add up to 1."""

_CHOICE = [
    *POINT, "method", "repetition", "evaluations", "pruned", "failed", "trial_id",
    *HYPERPARAMETERS.values(), "step", "effective_time", "loss", "score_error",
]  # fmt: skip


def chosen(evaluations: pd.DataFrame, frame: pd.DataFrame | Table) -> pd.DataFrame:
    """A row for each search, the evaluation with the least loss, then one for each theory-guided
    trial, stopped a priori; those of one point together.

    evaluations: as of `load_evaluations`. frame: the results table, with their trials. Columns:
    those of POINT, method (a sampler, or `theory`), repetition, evaluations, pruned and failed
    (how many of them), trial_id, the hyperparameters under a study's names, step, effective_time
    (eta tau), loss, score_error. Trials that the results table does not hold are no choice, and a
    search without any other with a value is left out.
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
    plain = [name for name in _CHOICE if name not in {*HYPERPARAMETERS.values(), "effective_time"}]
    found = with_hyperparameters(pd.DataFrame(rows, columns=plain), table)
    found["effective_time"] = found["step_size"] * found["step"]
    return found[_CHOICE].sort_values(POINT, kind="stable", ignore_index=True)


def with_hyperparameters(evaluations: pd.DataFrame, frame: pd.DataFrame | Table) -> pd.DataFrame:
    """The rows of `evaluations` whose trial the results table holds, with its hyperparameters
    beside them, under a study's names."""
    trials = Table.of(frame).trials[["trial_id", *HYPERPARAMETERS]].rename(columns=HYPERPARAMETERS)
    return evaluations.merge(trials, on="trial_id")


def winners(choices: pd.DataFrame, method: str | None = None) -> pd.DataFrame:
    """Of `chosen`, the row with the least loss at each point, of all searches or of one method:
    what to train with there. A loss is that of its repetition's own held-out data, so that close
    ones of two repetitions are no different."""
    wanted = choices["method"] != GUIDED if method is None else choices["method"] == method
    own = choices[wanted]
    return own.loc[own.groupby(POINT, sort=True)["loss"].idxmin()].reset_index(drop=True)


def described(choices: pd.DataFrame, importance: pd.DataFrame) -> str:
    """Both tables as the text of search.json: `best` and `importance`, lists of rows."""

    def plain(value: Any) -> Any:
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and not np.isfinite(value) else value

    tables = {"best": choices, "importance": importance}
    rows = {
        name: [{k: plain(v) for k, v in row.items()} for row in table.to_dict("records")]
        for name, table in tables.items()
    }
    return json.dumps(rows, indent=2, allow_nan=False) + "\n"


def load_importance(source: str) -> pd.DataFrame:
    """The table of importance from search.json beside the results in `source`; empty where there
    is none: of results from before it, or of too few evaluations. Raises ResultsError."""
    filesystem, path = fsspec.core.url_to_fs(str(source))
    name = f"{path.rstrip('/')}/{FILE}"
    if not filesystem.isfile(name):
        return no_importance()
    with opened(filesystem, name) as file:
        text = file.read()
    try:
        return pd.DataFrame(json.loads(text)["importance"], columns=IMPORTANCE)
    except (ValueError, KeyError, TypeError):
        raise ResultsError(
            f"{name}: not what a search writes: remove it, and `scorerates search` makes it anew"
        ) from None


def no_importance() -> pd.DataFrame:
    """A table of importance without rows."""
    return pd.DataFrame(columns=IMPORTANCE)
