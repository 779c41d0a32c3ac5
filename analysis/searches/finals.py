"""The finals: winners and theory's choices trained on the same fresh seeds, and compared there.

| name        | meaning                                                                         |
|-------------|---------------------------------------------------------------------------------|
| finalist    | distinct hyperparameters that won a search, or that theory chose                |
| loss        | mean over the seeds of the least held-out loss along the trajectory, unit x^2   |
| above       | a finalist's loss less the winner's, paired by seed                             |
| score error | geometric mean over the seeds of that at the step of the least held-out loss    |
| ratio       | score error of the best tuned finalist over that of theory's, paired by seed    |

The least mean loss decides, and nothing else: of several tuned finalists, and of several choices of
theory, that with the least stands for its side. The score error is looked at by no choice; but it
is of the trials whose losses chose, and goes with these: where one side has more finalists, its
best is a little favoured (docs/search.md).
Intervals are Student's, of 95 %, over seeds of data and weights; those of a ratio are of its
logarithm. Losses are on one held-out set, which has no seed and was the searches' too, and errors
on one test set: intervals leave out what other points would change, which was most of it where it
was measured (docs/search.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.levels.intervals import Array, student
from analysis.searches.best import HYPERPARAMETERS
from analysis.searches.tuning import FINAL, GUIDED, POINT
from analysis.text import counted

LEVEL = 0.95

FINALISTS = [
    *POINT, "place", "number", "chosen_by", "tuned", "theory", "trial_id", "chosen",
    *HYPERPARAMETERS.values(), "seeds", "loss", "above", "above_low", "above_high", "score_error",
    "step", "step_low", "step_high",
]  # fmt: skip
"""Columns of `finals`. place: 1 is the winner, NaN where a trial failed; number: as in the table
of evaluations; chosen_by: the searches and theory's choices, and their repetitions; tuned, theory:
whether any of them is a search's, theory's; trial_id: of the first of them; chosen: of all; step:
the median over seeds of that of the least held-out loss, and its ends."""

DUEL = [*POINT, "seeds", "measure", "ratio", "low", "high", "said"]
"""Columns of `duels`. measure: `score error`, of which `ratio` is the ratio, or `held-out loss`
where f* is not known, of which it is the difference."""


def finals(evaluations: pd.DataFrame, choices: pd.DataFrame) -> pd.DataFrame:
    """A row for each finalist of each point, the winner first; none where there were no finals.

    evaluations: as of `load_evaluations`. choices: as of `chosen`. A finalist without a loss on
    every seed, of which a trial failed, has no place. Columns: FINALISTS.
    """
    rows: list[dict[str, Any]] = []
    for _, trials in _trials(evaluations).groupby(POINT, sort=True):
        made = [_finalist(own, choices) for _, own in trials.groupby("number", sort=True)]
        rows += _placed([one for one in made if one is not None], trials)
    return pd.DataFrame(rows, columns=FINALISTS)


def _trials(evaluations: pd.DataFrame) -> pd.DataFrame:
    return evaluations[evaluations["method"] == FINAL]


def _finalist(own: pd.DataFrame, choices: pd.DataFrame) -> dict[str, Any] | None:
    """The row of a finalist, from its trials; None where no choice is known to be it."""
    by = choices[choices["trial_id"].isin(own["finalist"].iloc[0].split())]
    if by.empty:
        return None
    first, steps = by.iloc[0], own["step"].dropna()
    lowest, middle, highest = steps.quantile([0, 0.5, 1]) if len(steps) else [np.nan] * 3
    return {
        **{name: own[name].iloc[0] for name in POINT},
        "number": own["number"].iloc[0],
        "chosen_by": "; ".join(
            f"{row['method']}, repetition {row['repetition']}" for _, row in by.iterrows()
        ),
        "tuned": bool((by["method"] != GUIDED).any()),
        "theory": bool((by["method"] == GUIDED).any()),
        **{name: first[name] for name in ["trial_id", *HYPERPARAMETERS.values()]},
        "chosen": own["finalist"].iloc[0],
        "seeds": len(own),
        "loss": own["value"].mean() if own["value"].notna().all() else np.nan,
        "score_error": float(np.exp(np.log(_positive(own["score_error"])).mean())),
        "step": middle,
        "step_low": lowest,
        "step_high": highest,
    }


def _placed(made: list[dict[str, Any]], trials: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows in their order, each with what it is above the winner."""
    made.sort(key=lambda row: (np.isnan(row["loss"]), row["loss"], row["number"]))
    winner = made[0] if made and np.isfinite(made[0]["loss"]) else None
    for place, row in enumerate(made, start=1):
        row["place"] = place if np.isfinite(row["loss"]) else np.nan
        row["above"] = row["above_low"] = row["above_high"] = np.nan
        if winner is not None and np.isfinite(row["place"]):
            pair = (_by_seed(trials, one["number"], "value") for one in (row, winner))
            row["above"], row["above_low"], row["above_high"] = interval(next(pair) - next(pair))
    return made


def _by_seed(trials: pd.DataFrame, number: int, column: str) -> Array:
    own = trials[trials["number"] == number].sort_values("repetition")
    return own[column].to_numpy(dtype=float)


def _positive(errors: Any) -> Array:
    values = np.asarray(errors, dtype=float)
    return np.where(values > 0, values, np.nan)


def interval(values: Array) -> tuple[float, float, float]:
    """The mean over seeds [n], and the ends of Student's interval; NaN of a single value. The
    held-out points that all seeds share count as exact."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, np.nan, np.nan
    half = student(LEVEL, count - 1) * float(np.std(values, ddof=1)) / np.sqrt(count)
    return mean, mean - half, mean + half


# --- tuned against theory -------------------------------------------------------------------------


def duels(evaluations: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """A row for each point whose finals have a tuned finalist and a choice of theory's: the best of
    either against one another, and a sentence on who is better. found: as of `finals`. Columns:
    DUEL."""
    rows = []
    trials = _trials(evaluations)
    for key, own in found[found["place"].notna()].groupby(POINT, sort=True):
        sides = [own[own[side]] for side in ("tuned", "theory")]
        if any(side.empty for side in sides):
            continue
        here = trials[(trials[POINT] == list(key)).all(axis=1)]
        numbers = [int(side["number"].iloc[0]) for side in sides]
        rows.append((*key, int(own["seeds"].iloc[0]), *_compared(here, *numbers)))
    return pd.DataFrame(rows, columns=DUEL)


def _compared(
    trials: pd.DataFrame, tuned: int, theory: int
) -> tuple[str, float, float, float, str]:
    errors = [_positive(_by_seed(trials, one, "score_error")) for one in (tuned, theory)]
    count = trials["repetition"].nunique()
    if np.isfinite(errors).all():
        measure, none = "score error", 1.0
        middle, low, high = map(float, np.exp(interval(np.log(errors[0]) - np.log(errors[1]))))
        said = "score error, tuned / theory"
    else:
        measure, none = "held-out loss", 0.0
        losses = [_by_seed(trials, one, "value") for one in (tuned, theory)]
        middle, low, high = interval(losses[0] - losses[1])
        some = " (of some trials the score error is not known)" if np.isfinite(errors).any() else ""
        said = f"held-out loss, tuned - theory, on one held-out set{some}"
    ends = "" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]"
    if tuned == theory:
        verdict = "both chose the same"
    elif low > none:
        verdict = "theory's choice is better"
    elif high < none:
        verdict = "the tuned one is better"
    else:
        verdict = f"{counted(count, 'fresh seed')} cannot tell them apart"
    return measure, middle, low, high, f"{said} = {middle:.3g}{ends}: {verdict}"
