"""Predictions of the user's own: none of them is ignored in silence."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.fits.power_law import fit_power_law
from analysis.theory import Kind, Prediction
from analysis.verdicts.asking import lines
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.judging import Word, judge
from analysis.verdicts.own import Own, Stated, formula

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


def test_an_exponent_may_depend_on_d(synthetic: ModuleType) -> None:
    both = synthetic.synthetic_table(synthetic.Grid(seeds=2, dimensions=(2, 4)))
    functions: list[Own] = [
        lambda d: replace(MINE, exponent=1 / (1 + d / 4)),
        Stated("mine", "bound", "1/(1 + d/4)"),
    ]
    for own in functions:
        found = [v for v in evaluate(both, extra=[own]) if v.prediction == "mine"]
        assert {(v.dimension, round(v.theory_exponent, 9)) for v in found} == {
            (2, round(2 / 3, 9)), (4, 0.5),
        }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.4", 0.4), ("2/(d + 3)", 0.4), ("-(d+2)/(d+3)", -0.8), ("min(d, 8)**0.5", math.sqrt(2)),
     ("sqrt(d - 3)", math.nan), ("1/(d-2)", math.nan), ("(2-d*2)**0.5", math.nan),
     ("9**9**9**9", math.nan), ("min(1, (d - 4)**0.5)", math.nan), ("sqrt((1-d)**0.5)", math.nan),
     ("0.3*d - 0.6", 0.0), ("0.1 + d/10 - 0.3", 0.0)],
)  # fmt: skip
def test_formulas(text: str, value: float) -> None:
    assert formula(text, 2) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    "text",
    ["", "e", "d.real", "__import__('os')", "d if d else 1", "[d]", "d;d", "True", "1j", "d()"],
)
def test_what_is_no_formula(text: str) -> None:
    with pytest.raises(ValueError, match="or a formula in d of"):
        formula(text, 2)


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


def test_one_without_a_value_in_one_dimension_says_so_there(synthetic: ModuleType) -> None:
    both = synthetic.synthetic_table(synthetic.Grid(seeds=2, dimensions=(1, 2)))
    found = evaluate(both, extra=[Stated("mine", "bound", "1/(d - 2)")])
    assert {v.dimension for v in found if v.prediction == "mine"} == {1}
    told = [line for line in lines(found.not_asked) if line.startswith("mine: ")]
    assert told == ["mine: needs a number for its exponent, which is nan at d = 2"]


@pytest.mark.parametrize(
    ("threshold", "b", "word"),
    [
        ("0.4", 0.1, Word.AGREES), ("0.4", 0.6, Word.DISAGREES), ("2/d", 0.1, Word.AGREES),
        ("-0.5", -0.9, Word.AGREES), ("-0.5", -0.45, Word.DISAGREES), ("0", 0.2, Word.DISAGREES),
    ],
)  # fmt: skip
def test_one_that_states_a_threshold_alone_is_decided(threshold: str, b: float, word: Word) -> None:
    x = np.repeat(2.0 ** np.arange(6, 12), 8)
    y = x**-b * np.exp(0.02 * np.random.default_rng(0).standard_normal(len(x)))
    row = Stated("mine", "qualitative", threshold=threshold)(2)
    verdict = judge(row, fit_power_law(x, y))
    assert verdict.verdict is word
    assert "best stopping" not in verdict.reason
