"""Networks recorded up to a time before the best one of their kernel limit: that is told."""

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantities import Curve, curves
from analysis.data.curves.quantity import Quantity
from analysis.verdicts.judging import usable

EARLY, LATE = 20.0, 400.0
"""Effective times of two minima; the second is the lower one."""


def two_wells(s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """An error that first falls to 2/sqrt(N), at EARLY, and later to 1/sqrt(N), at LATE."""
    u = np.log(np.maximum(s, 1e-3))
    first, second = (u - np.log(EARLY)) ** 2, (u - np.log(LATE)) ** 2
    return (1 + np.minimum(1 + first, second)) / np.sqrt(n)


def table(synthetic: ModuleType, last: float) -> pd.DataFrame:
    """Networks up to the time `last`, and the limit on their data and more."""
    grid = synthetic.Grid(widths=(), step_sizes=(), seeds=3, limits=6, steps=4000)
    made = synthetic.synthetic_table(grid)
    made = made[np.isinf(made["width"]) | (made["effective_time"] <= last)].reset_index(drop=True)
    made["score_error"] = two_wells(made["effective_time"].to_numpy(), made["samples"].to_numpy())
    return made


def of_networks(made: pd.DataFrame, quantity: Quantity = Quantity.BEST_ERROR) -> Curve:
    return next(
        c
        for c in curves(made)
        if (c.quantity, c.axis) == (quantity, "samples") and np.isfinite(c.fixed["width"])
    )


@pytest.mark.parametrize("quantity", [Quantity.BEST_ERROR, Quantity.BEST_TIME])
def test_more_steps_are_told_where_the_limit_has_a_later_minimum(
    synthetic: ModuleType, quantity: Quantity
) -> None:
    """The values stay: leaving the levels out would select those at which networks follow."""
    curve = of_networks(table(synthetic, last=100), quantity)
    assert curve.short == tuple(np.unique(curve.x))
    assert not curve.censored.any()
    kept, note = usable(curve)
    assert len(kept.x) == len(curve.x)
    assert note.startswith("at N = 64, 128, 256")
    assert note.endswith("more steps may find a lower error")
    assert usable(of_networks(table(synthetic, last=100), Quantity.ERROR_AT_TIME))[1] == ""


def test_a_network_that_was_recorded_long_enough_has_one(synthetic: ModuleType) -> None:
    curve = of_networks(table(synthetic, last=1000))
    assert (curve.short, usable(curve)[1]) == ((), "")


def test_without_the_limit_its_own_minimum_is_all_there_is(synthetic: ModuleType) -> None:
    made = table(synthetic, last=100)
    alone = made[np.isfinite(made["width"])].reset_index(drop=True)
    assert of_networks(alone).short == ()


def test_a_trainer_without_a_kernel_limit_has_its_own_clock(synthetic: ModuleType) -> None:
    made = table(synthetic, last=100)
    made["trainer"] = np.where(np.isinf(made["width"]), made["trainer"], "adam")
    made["largest_step_size"] = np.where(np.isinf(made["width"]), 1.0, np.nan)
    assert of_networks(made).short == ()


def test_the_limit_is_that_of_the_networks_own_features(synthetic: ModuleType) -> None:
    """Trials without the bias feature have the same data and another kernel."""
    made = table(synthetic, last=1000)
    slow = made[np.isinf(made["width"])].copy()
    slow["feature_bias"] = False
    slow["effective_time"] *= 10
    for letter in "0z":  # before and after the other limit, by id
        slow["trial_id"] = letter + made["trial_id"].str.slice(1)
        both = pd.concat([made, slow]).reset_index(drop=True)
        assert of_networks(both).short == ()
    shorter = made["effective_time"].where(made["feature_bias"], 0) <= 100
    networks = made[np.isinf(made["width"]) | shorter].reset_index(drop=True)
    assert of_networks(networks).short != ()


def test_of_several_limits_the_first_minimum_counts(synthetic: ModuleType) -> None:
    made = table(synthetic, last=1000)
    again = made[np.isinf(made["width"])].copy()
    again["trial_id"] = "z" + again["trial_id"].str.slice(1)
    again["step_size"] *= 2
    again["effective_time"] *= 20
    both = pd.concat([made, again]).reset_index(drop=True)
    assert of_networks(both).short == ()
