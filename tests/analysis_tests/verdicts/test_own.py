"""Predictions of the user's own: none of them is ignored in silence."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from analysis.theory import Kind, Prediction
from analysis.verdicts.asking import lines
from analysis.verdicts.evaluation import evaluate

MINE = Prediction(
    name="mine", quantity="best_score_error", axis="samples", exponent=0.4, kind=Kind.BOUND,
    margin=0.15, source="my paper", statement="The error falls as N^-0.4 or faster.",
)  # fmt: skip


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    return synthetic.synthetic_table(synthetic.Grid(seeds=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantity": "best_score_eror"}, "quantity = 'best_score_eror': did you mean 'best_scor"),
        ({"quantity": "loss"}, "quantity = 'loss': choose among best_score_error, "),
        ({"axis": "sample"}, "axis = 'sample': did you mean 'samples'"),
        ({"axis": "N"}, "axis = 'N': choose among samples, width, step_size, inverse_t_min"),
        ({"margin": 15}, "margin = 15: a share of the exponent from 0 to 1, such as 0"),
        ({"name": "best error against samples"}, "give yours a name of its own"),
    ],
)
def test_what_is_wrong_is_named(table: pd.DataFrame, change: dict[str, Any], message: str) -> None:
    own = replace(MINE, **change)
    with pytest.raises(ValueError, match=f"^prediction {own.name!r}: .*{message}"):
        evaluate(table, extra=[own])


def test_two_of_one_name_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="prediction 'mine': another one has this name"):
        evaluate(table, extra=[MINE, replace(MINE, exponent=0.5)])


def test_a_kind_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(ValueError, match="kind = 'bounds': choose among bound, sharp, qualitative"):
        Prediction(**{**vars(MINE), "kind": "bounds"})
    assert Prediction(**{**vars(MINE), "kind": "sharp"}).kind is Kind.SHARP


def test_numbers_are_numbers() -> None:
    with pytest.raises(ValueError, match=r"exponent = '0\.5': must be a number"):
        replace(MINE, exponent="0.5")  # type: ignore[arg-type]
    assert Prediction("own", "best_score_error", "samples", 0.5, Kind.SHARP).margin == 0.15


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        ({"quantity": "memorization_time"}, "(several noisy copies of each point: `copies`); what"),
        (
            {"axis": "inverse_t_min"},
            "5 values of inverse_t_min (1/T₀) or more over a factor of 15.8",
        ),
        ({"needs": ("rkhs_norm",)}, "a curve on which rkhs_norm is given"),
        ({"exponent": math.nan}, "a number for its exponent, which is nan"),
        ({"kind": Kind.CEILING}, "a number for its threshold, which is nan"),
        ({"kind": Kind.QUALITATIVE}, "a number for its threshold, which is nan"),
    ],
)
def test_one_that_no_curve_answers_says_what_it_needs(
    table: pd.DataFrame, change: dict[str, object], needs: str
) -> None:
    evaluation = evaluate(table, extra=[replace(MINE, **change)])  # type: ignore[arg-type]
    assert "mine" not in {verdict.prediction for verdict in evaluation}
    told = [line for line in lines(evaluation.not_asked) if line.startswith("mine: needs ")]
    assert len(told) == 1
    assert needs in told[0]
    assert len(evaluation.unasked) == len(evaluation.not_asked) - 1


def test_one_that_a_curve_answers_is_judged(table: pd.DataFrame) -> None:
    evaluation = evaluate(table, extra=[MINE])
    assert "mine" in {verdict.prediction for verdict in evaluation}
    assert all(row.prediction != "mine" for row in evaluation.not_asked)
