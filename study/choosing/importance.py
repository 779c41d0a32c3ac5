"""Which hyperparameters decided: Optuna's PED-ANOVA over the evaluations of one search.

PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023, arXiv 2304.10255) compares two densities of each
hyperparameter, that of the best tenth of the evaluations and that of all, by their Pearson
divergence; the divergences are divided by their sum. Optuna counts finished trajectories only; here
a pruned one counts too, with the loss that it was pruned at: it is not among the best tenth, and
without it a search with a pruner would have few trials left.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

LEAST = 20
"""Evaluations below which the best tenth is a single one, and no density."""


def importance_of(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Hyperparameter -> share, adding up to 1, largest first; empty below LEAST evaluations with a
    value, or where one value of a hyperparameter is all that was asked for. Of a search in several
    spaces the names are numbered as they are, and those shares are of what its trials there say."""
    known = [t for t in trials if t.state in _ENDED and t.value is not None and t.params]
    if len(known) < LEAST:
        return {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0), direction="minimize")
    study.add_trials(
        [create_trial(value=t.value, params=t.params, distributions=t.distributions) for t in known]
    )
    with warnings.catch_warnings():  # of values of which there are few; and that it is new
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return found if sum(found.values()) > 0 else {}


_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
