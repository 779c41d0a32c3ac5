"""Curves of data sets: each counts once, whatever is trained on it; their rate is judged once."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.data_sets import beside, data_curves
from analysis.data.curves.quantities import INVERSE_T_MIN, Curve, curves
from analysis.data.curves.quantity import UNTRAINED, Quantity
from analysis.verdicts.assumed import Holds
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.rules import Word

SAMPLES = (64, 256, 1024, 2048, 4096)


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    """Networks of three widths and two step sizes, and their limits on more data sets."""
    grid = synthetic.Grid(
        samples=SAMPLES, widths=(64, 256, 4096), step_sizes=(0.5, 1.0), seeds=3, recorded=10,
        limits=6, base=(256, 4096, 1.0), untrained=0.3,
    )  # fmt: skip
    made: pd.DataFrame = synthetic.synthetic_table(grid)
    return made


def only(found: list[Curve], quantity: Quantity) -> Curve:
    (one,) = [c for c in found if c.quantity == quantity]
    return one


def test_each_data_set_counts_once(table: pd.DataFrame) -> None:
    found = data_curves(table)
    assert [c.quantity for c in found] == list(UNTRAINED)
    curve = only(found, Quantity.EMPIRICAL_BAYES)
    assert (curve.axis, curve.linked, curve.control) == ("samples", False, None)
    g = {"g_min": 1.0, "g_max": 1.0}
    assert curve.fixed == {"t_min": 0.05, "t_max": 1.0, "schedule": "constant", **g}
    pairs = list(zip(curve.x, curve.seed, strict=True))
    assert len(pairs) == len(set(pairs)) == len(SAMPLES) * 6
    by_pair = table.set_index(["samples", "seed"])["empirical_bayes_error"]
    for (n, seed), y in zip(pairs, curve.y, strict=True):
        assert set(by_pair.loc[(n, seed)]) == {y}


def test_a_table_without_the_columns_has_none(table: pd.DataFrame) -> None:
    bare = table.drop(columns=[c for c in table if "empirical_bayes" in c or "memorizer" in c])
    assert data_curves(bare) == []
    assert data_curves(bare.drop(columns="data_id")) == []
    assert data_curves(table.iloc[:0]) == []
    assert data_curves(table[table["samples"] < 1000]) == []  # two values of N


def test_values_that_one_trial_lacks_come_from_another_on_its_data(table: pd.DataFrame) -> None:
    """Networks of before, without the columns, and their limits with them; then neither."""
    columns = [c for c in table if "empirical_bayes" in c or "memorizer" in c]
    partly = table.copy()
    partly.loc[np.isfinite(partly["width"]), columns] = np.nan
    whole = only(data_curves(table), Quantity.EMPIRICAL_BAYES)
    same = only(data_curves(partly), Quantity.EMPIRICAL_BAYES)
    assert same.y.tolist() == whole.y.tolist()
    assert same.missing == ()
    partly.loc[(partly["samples"] == 64) & (partly["seed"] == 2), columns] = np.nan
    less = only(data_curves(partly), Quantity.EMPIRICAL_BAYES)
    assert less.missing == (64.0,)
    assert len(less.x) == len(whole.x) - 1


def test_values_that_differ_by_rounding_alone_are_of_one_data_set(table: pd.DataFrame) -> None:
    """Devices round otherwise; other points of the same seed differ by far more."""
    mixed = table.copy()
    columns = [c for c in table if "empirical_bayes" in c or "memorizer" in c]
    infinite = np.isinf(mixed["width"])
    whole = only(data_curves(table), Quantity.EMPIRICAL_BAYES)
    for change, extra in ((1e-15, 0), (-1e-9, 0), (1e-3, len(SAMPLES) * 3)):
        mixed.loc[infinite, columns] = table.loc[infinite, columns] * (1 + change)
        curve = only(data_curves(mixed), Quantity.EMPIRICAL_BAYES)
        assert len(curve.y) == len(whole.y) + extra


def test_without_a_group_of_test_points(table: pd.DataFrame) -> None:
    uneven = table.copy()
    shares = np.arange(1, 9) / 4.5  # mean 1
    for i, share in enumerate(shares, 1):
        uneven[f"empirical_bayes_error_group{i}"] = share * uneven["empirical_bayes_error"]
    curve = only(data_curves(uneven), Quantity.EMPIRICAL_BAYES)
    assert curve.without is not None
    expected = [shares[np.arange(8) != i].mean() for i in range(8)]
    np.testing.assert_allclose(curve.without / curve.y[:, None], [expected] * len(curve.y))
    assert only(data_curves(uneven), Quantity.MEMORIZER).without is None


def test_two_laws_and_diffusions_are_curves_of_their_own(table: pd.DataFrame) -> None:
    later = table.assign(
        t_min=0.1, data_id="later" + table["data_id"], trial_id="later" + table["trial_id"]
    )
    both = pd.concat([table, later], ignore_index=True)
    found = [c for c in data_curves(both) if c.quantity == Quantity.EMPIRICAL_BAYES]
    assert [c.fixed["t_min"] for c in found] == [0.05, 0.1]
    best = next(c for c in curves(later) if (c.quantity, c.axis) == ("best_score_error", "samples"))
    assert beside(best, found, Quantity.EMPIRICAL_BAYES) is found[1]
    assert beside(best, found[:1], Quantity.EMPIRICAL_BAYES) is None


def test_over_t_min_a_seed_keeps_its_clean_points(table: pd.DataFrame) -> None:
    parts = [
        table.assign(
            t_min=t, data_id=f"{t}" + table["data_id"], trial_id=f"{t}" + table["trial_id"],
            empirical_bayes_error=table["empirical_bayes_error"] * (1 + i),
        )
        for i, t in enumerate((0.4, 0.1, 0.025))
    ]  # fmt: skip
    every = data_curves(pd.concat(parts, ignore_index=True))
    along = [c for c in every if (c.quantity, c.axis) == (Quantity.EMPIRICAL_BAYES, INVERSE_T_MIN)]
    assert [c.fixed["samples"] for c in along] == sorted(table["samples"].unique())
    assert all(c.linked and set(c.x) == {2.5, 10, 40} for c in along)
    by_time = [along[0].y[along[0].x == x].mean() for x in (2.5, 10, 40)]
    np.testing.assert_allclose(np.divide(by_time, by_time[0]), [1, 2, 3])
    assert not any(c.axis == INVERSE_T_MIN for c in data_curves(pd.concat(parts[:2])))


@pytest.mark.slow
def test_the_rate_is_judged_once_a_law_and_recovers_the_planted_one(
    synthetic: ModuleType,
) -> None:
    grid = synthetic.Grid(widths=(64, 256, 4096), seeds=2, recorded=10, limits=24, untrained=0.3)
    (verdict,) = [
        v for v in evaluate(synthetic.synthetic_table(grid))
        if v.quantity == Quantity.EMPIRICAL_BAYES
    ]  # fmt: skip
    assert verdict.verdict is Word.AGREES
    assert verdict.theory_exponent == 1
    assert verdict.exponent == pytest.approx(1, abs=0.06)
    assert verdict.ci_high - verdict.ci_low < 0.15
    assert verdict.seeds == 24
    sub_gaussian, many = verdict.assumptions
    assert (sub_gaussian.name, sub_gaussian.holds) == ("sub-Gaussian law", Holds.YES)
    assert many.holds is Holds.YES
    assert many.finding.startswith("one point holds 0.049 % of the estimate at N = 4096")
