"""Which hyperparameters decided, of planted losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import tidy
from analysis.data.schema import table_from
from analysis.searches.tuning import COLUMNS
from study.choosing.importance import importance_of
from trainers.trial import Trajectory, TrialConfig


def planted(
    loss: Any, methods: dict[str, Any], count: int = 32, repetitions: int = 2
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Evaluations with loss(config, rng) on the level of their repetition, and their results.
    methods: sampler -> how likely it asks for a bias."""
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    made = {}
    for method, biased in methods.items():
        for r in range(repetitions):
            for n in range(count):
                c = TrialConfig.model_validate(
                    {
                        "law": {"kind": "gaussian_mixture", "dimension": 2}, "samples": 64,
                        "width": int(2 ** rng.integers(6, 11)), "seed": r, "steps": 10,
                        "step_size": float(np.exp(rng.uniform(np.log(0.1), np.log(4)))),
                        "bias": bool(rng.random() < biased),
                    }
                )  # fmt: skip
                made[c.trial_id] = Trajectory(c, [0], values={}, series={})
                rows.append(
                    {
                        "law_id": c.law_id, "law_label": c.law.label, "dimension": 2,
                        "samples": 64, "t_min": 0.05, "steps": 10, "method": method,
                        "repetition": r, "number": n, "trial_id": c.trial_id, "message": "",
                        "state": "COMPLETE", "value": 5.0 * r + loss(c, rng), "finalist": "",
                    }
                )  # fmt: skip
    evaluations = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    return evaluations, tidy(table_from(list(made.values()), "s").to_pandas())


def by_bias(c: TrialConfig, rng: np.random.Generator) -> float:
    """The bias, a little of the step size, and noise."""
    return 0.15 + 0.01 * (not c.bias) + 0.001 * abs(np.log(c.step_size)) + 1e-4 * rng.normal()


def test_what_decides_is_found_whichever_sampler_asked() -> None:
    """A sampler that has learnt asks for the decisive value nearly always."""
    shares = importance_of(*planted(by_bias, {"random": 0.5, "tpe": 0.85}))
    assert shares["hyperparameter"].iloc[0] == "bias"
    assert shares["importance"].iloc[0] > 0.6
    assert shares["importance"].sum() == pytest.approx(1)
    assert set(shares["samplers"]) == {"random"}  # those that do not adapt, of all repetitions
    assert set(shares["evaluations"]) == {64}
    alone = importance_of(*planted(by_bias, {"tpe": 0.85}))
    assert alone["hyperparameter"].iloc[0] == "bias"
    assert set(alone["samplers"]) == {"tpe"}


def test_trajectories_that_diverge_do_not_drown_the_rest() -> None:
    def with_outliers(c: TrialConfig, rng: np.random.Generator) -> float:
        return 1e6 if c.step_size > 3.8 else by_bias(c, rng)

    shares = importance_of(*planted(with_outliers, {"random": 0.5}))
    assert shares["hyperparameter"].iloc[0] == "bias"


def test_too_few_evaluations_or_chance_alone_say_nothing() -> None:
    assert importance_of(*planted(by_bias, {"random": 0.5}, count=10)).empty
    assert importance_of(*planted(lambda c, rng: rng.normal(), {"random": 0.5})).empty
    assert importance_of(*planted(lambda c, rng: 1.0, {"random": 0.5})).empty
