"""Which hyperparameters decided: functional ANOVA over the evaluations at a point.

fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014) fits a forest to the losses and gives each
hyperparameter its share of the variance of what the forest says over the whole space, whatever the
others are. What the shares leave of 1 is what several hyperparameters decide only together: a step
size that is best where the width is large, say. The losses of a repetition stand as ranks, since
repetitions differ in their data and trajectories that diverge in their scale; those of all
repetitions are pooled.

Evaluations of samplers that do not adapt (`random`, `qmc`) are spread evenly, and are taken alone
where there are enough of them. Not PED-ANOVA, which compares the best tenth with all evaluations:
of a search that has learnt, these have the decisive values alike, and what is left to chance seems
to decide.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial
from sklearn.ensemble import RandomForestRegressor

from analysis.data.table import Table
from analysis.searches.best import HYPERPARAMETERS, IMPORTANCE, with_hyperparameters
from analysis.searches.tuning import NOT_SEARCHED, POINT
from study.choosing.search import quiet

LEAST = 32
"""Evaluations with a loss at a point, below which nothing is said."""

LEAST_EXPLAINED = 0.2
"""Of the variance of ranks that a forest has not seen, the share that one must say (out of bag):
below it what the forest says is chance."""

EVEN = ("random", "qmc")
"""Samplers that do not adapt to what they found."""


def importance_of(evaluations: pd.DataFrame, frame: pd.DataFrame | Table) -> pd.DataFrame:
    """The table with the columns IMPORTANCE: at each point the share of every hyperparameter of
    which there was a choice alone, largest first; no rows where too few evaluations tell.

    evaluations: as of `load_evaluations`. frame: the results table, with their trials.
    """
    known = evaluations[~evaluations["method"].isin(NOT_SEARCHED) & evaluations["value"].notna()]
    rows = []
    for point, own in with_hyperparameters(known, frame).groupby(POINT, sort=False):
        even = own[own["method"].isin(EVEN)]
        taken = even if len(even) >= LEAST else own
        samplers = ", ".join(sorted(taken["method"].unique()))
        rows += [
            (*point, name, share, len(taken), samplers) for name, share in _shares(taken).items()
        ]
    return pd.DataFrame(rows, columns=IMPORTANCE)


def _shares(own: pd.DataFrame) -> dict[str, float]:
    names = [name for name in HYPERPARAMETERS.values() if own[name].nunique() > 1]
    ranks = own.groupby("repetition")["value"].rank(pct=True).to_numpy()
    if len(own) < LEAST or not names or np.ptp(ranks) == 0:
        return {}
    places = {name: _places(own[name]) for name in names}
    forest = RandomForestRegressor(200, oob_score=True, random_state=0)
    if forest.fit(np.stack([*places.values()], axis=1), ranks).oob_score_ < LEAST_EXPLAINED:
        return {}
    space = {name: _distribution(own[name], places[name]) for name in names}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0), direction="minimize")
        for i, rank in enumerate(ranks):
            params = {name: at[i].item() for name, at in places.items()}
            study.add_trial(create_trial(value=rank, params=params, distributions=space))
        # As they are: made to add up to 1, what none decides alone would be dealt out by chance.
        evaluator = FanovaImportanceEvaluator(seed=0)
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    return {name: float(share) for name, share in found.items()}


def _places(values: pd.Series) -> NDArray[Any]:
    """Numbers between two others by their logarithm, levels and choices by their place in order."""
    if values.name in _NUMBERS and not _few(values):
        return np.asarray(np.log(values.to_numpy(dtype=float)))
    codes, _ = pd.factorize(values, sort=True)
    return np.asarray(codes)


def _distribution(values: pd.Series, places: NDArray[Any]) -> BaseDistribution:
    if values.name in _NUMBERS and _few(values):
        # All levels are as likely: from the first to the last, these two would count half.
        return FloatDistribution(-0.5, float(places.max()) + 0.5)
    if values.name in _NUMBERS:
        return FloatDistribution(float(places.min()), float(places.max()))
    return CategoricalDistribution(tuple(range(int(places.max()) + 1)))


def _few(values: pd.Series) -> bool:
    """Whether numbers are levels, of a list or powers of two: asked for twice or more."""
    return 2 * values.nunique() <= len(values)


_NUMBERS = ("width", "step_size")
