"""Which hyperparameters decided, of planted losses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import tidy
from analysis.data.schema import table_from
from analysis.searches.answers import deciding
from analysis.searches.tuning import COLUMNS
from study.choosing.importance import _shares, importance_of
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
    assert 0.9 < shares["importance"].sum() <= 1
    assert set(shares["samplers"]) == {"random"}  # those that do not adapt, of all repetitions
    assert set(shares["evaluations"]) == {64}
    alone = importance_of(*planted(by_bias, {"tpe": 0.85}))
    assert alone["hyperparameter"].iloc[0] == "bias"
    assert set(alone["samplers"]) == {"tpe"}


def test_what_no_hyperparameter_decides_alone_is_shared_out_to_none() -> None:
    """Of two that matter only together, and a third that never does, none is said to matter."""

    def together(c: TrialConfig, rng: np.random.Generator) -> float:
        return float(c.bias == (c.width >= 256)) + 1e-3 * rng.normal()

    shares = importance_of(*planted(together, {"random": 0.5}, count=64))
    assert set(shares["hyperparameter"]) == {"width", "step_size", "bias"}
    assert shares["importance"].sum() < 0.5
    assert deciding(shares).startswith("No hyperparameter alone matters most: ")
    assert "is of several together, or chance; " in deciding(shares)


def test_the_first_and_the_last_width_count_as_much_as_those_between() -> None:
    """By hand, on a whole factorial without interaction."""
    rows = [
        (2**k, 1.0, "plain", bias, "descent", 0, k + 3.0 * bias)
        for k, bias in itertools.product(range(5), [True, False])
        for _ in range(8)
    ]
    names = ["width", "step_size", "initialisation", "bias", "trainer", "repetition", "value"]
    own = pd.DataFrame(rows, columns=names)
    ranks = own["value"].rank()
    parts = {name: ranks.groupby(own[name]).mean().var(ddof=0) for name in ("width", "bias")}
    wanted = {name: part / ranks.var(ddof=0) for name, part in parts.items()}
    assert _shares(own) == pytest.approx(wanted, abs=0.01)


def test_trajectories_that_diverge_do_not_drown_the_rest() -> None:
    def with_outliers(c: TrialConfig, rng: np.random.Generator) -> float:
        return 1e6 if c.step_size > 3.8 else by_bias(c, rng)

    shares = importance_of(*planted(with_outliers, {"random": 0.5}))
    assert shares["hyperparameter"].iloc[0] == "bias"


def test_too_few_evaluations_or_chance_alone_say_nothing() -> None:
    assert importance_of(*planted(by_bias, {"random": 0.5}, count=10)).empty
    assert importance_of(*planted(lambda c, rng: rng.normal(), {"random": 0.5})).empty
    assert importance_of(*planted(lambda c, rng: 1.0, {"random": 0.5})).empty
