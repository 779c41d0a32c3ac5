"""What a search says at each point, in words: the same at its end, on the page and in `best`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.searches.best import HYPERPARAMETERS, leaders
from analysis.searches.tuning import POINT, label_of
from analysis.text import counted, percent

RULE = "of each repetition the least loss, and of these the furthest below its repetition's median"
"""How `best` chooses among several repetitions without finals."""


@dataclass(frozen=True)
class Answer:
    """best: what to train with, a sentence, or one a repetition where no finals say it; duel: tuned
    against theory, empty without finals of both; deciding: which hyperparameter matters most."""

    label: str
    best: Sequence[str]
    duel: str
    deciding: str


def answers(
    choices: pd.DataFrame, finals: pd.DataFrame, duels: pd.DataFrame, importance: pd.DataFrame
) -> list[Answer]:
    """An answer for each point. Arguments: as of `chosen`, `finals`, `duels`, `load_importance`."""
    made = []
    points = choices[POINT].drop_duplicates()
    for _, point in points.iterrows():
        won, met, shares = (at(point, table) for table in (finals, duels, importance))
        best = [_of_the_finals(row, won) for _, row in won[won["place"] == 1].iterrows()]
        own = leaders(at(point, choices))
        several = len(own) > 1
        if not best:
            best = [_of_a_search(row, several) for _, row in own.iterrows()]
        duel = str(met["said"].iloc[0]) if len(met) else ""
        made.append(Answer(label_of(point, points), best, duel, deciding(shares)))
    return made


def at(point: pd.Series[Any], table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with the columns of POINT that are of a point."""
    return table[(table[POINT] == point).all(axis=1)] if len(table) else table


def _words(row: Any) -> str:
    cells = {name: choice_word(row[name]) for name in HYPERPARAMETERS.values()}
    named = f"m = {cells['width']}, η = {cells['step_size']}, {cells['initialisation']}"
    return f"{named}, bias {cells['bias']}, {cells['trainer']}"


def _of_the_finals(winner: Any, finals: pd.DataFrame) -> str:
    near = finals[(finals["place"] > 1) & ~(finals["above_low"] > 0)]
    apart = f"; not told apart from {' and '.join(near['chosen_by'])}" if len(near) else ""
    return f"{_words(winner)} ({winner['chosen_by']}) won the finals: {outcome(winner)}{apart}"


def _of_a_search(row: Any, several: bool) -> str:
    own = f"repetition {row['repetition']}, on data of its own: " if several else ""
    return f"{own}{_words(row)}; stop at step {row['step']:,}: {errors(row)} ({row['method']})"


def outcome(row: Any) -> str:
    """What the finals say of a row of `finals`: its loss and error, and where it stopped."""
    low, high = int(row["step_low"]), int(row["step_high"])
    middle = f"{row['step']:,.0f}"
    where = f"step {low:,}" if low == high else f"steps {low:,} to {high:,} (median {middle})"
    seeds = counted(int(row["seeds"]), "fresh seed")
    return f"{errors(row)} on {seeds}, each stopped at its least held-out loss, {where}"


def errors(row: Any) -> str:
    """The held-out loss of a row, and its score error where it is known."""
    loss, error = f"held-out loss {row['loss']:.5g}", row["score_error"]
    return f"{loss}, score error {error:.4g}" if np.isfinite(error) else loss


def deciding(shares: pd.DataFrame) -> str:
    """Which hyperparameter matters most at a point, or that this is not known."""
    if shares.empty:
        return "Too few evaluations to tell which hyperparameter matters most."
    ordered = shares.sort_values("importance", ascending=False)
    first = ordered.iloc[0]
    named = [
        f"{str(name).replace('_', ' ')} {percent(float(share), 2)}"
        for name, share in zip(ordered["hyperparameter"], ordered["importance"], strict=True)
    ]
    of = f"{counted(int(first['evaluations']), 'evaluation')} of {first['samplers']}"
    alone = f"{', '.join(named)} of how {of} rank by held-out loss"
    rest = max(1 - float(ordered["importance"].sum()), 0.0)
    together = f"{percent(rest, 2)} is of several together, or chance"
    if rest > first["importance"]:
        return f"No hyperparameter alone matters most: {together}; {alone}."
    return f"What matters most: {alone}{f'; {together}' * (rest >= 0.005)}."


def choice_word(value: Any) -> str:
    """A hyperparameter as a study writes it."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (float, np.floating)) and not float(value).is_integer():
        return f"{value:.4g}"
    return f"{value:.0f}" if isinstance(value, (float, np.floating)) else str(value)
