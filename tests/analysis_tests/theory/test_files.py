"""Theories as files: an edit there, and nowhere else, turns what a study's verdict is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.sweeps import law_names
from analysis.report.page import write_report
from analysis.report.theories import matrix
from analysis.theory import Kind, Prediction, registry
from analysis.theory.prediction import Measured, Theory
from analysis.theory.record import compared, record
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.judging import Word

BEST = "best error against samples"
CLOCKS = (
    "generalization time against samples",
    "memorization time against samples",
    "memorization over generalization time against samples",
)


def edited(key: str, name: str, exponent: float = 0.5, **others: Any) -> tuple[Theory, ...]:
    """The registry with another exponent, or other fields, in one row of a theory."""
    (old,) = (theory for theory in registry.THEORIES if theory.key == key)

    def rows(dimension: int, measured: Measured) -> Iterator[Prediction]:
        for row in old.rows(dimension, measured):
            fields = others or {"exponent": exponent}
            yield replace(row, **fields) if row.name == name else row

    new = replace(old, rows=rows)
    return tuple(new if theory is old else theory for theory in registry.THEORIES)


def word(table: pd.DataFrame, name: str) -> Word:
    words = {v.verdict for v in evaluate(table) if v.prediction == name}
    assert len(words) == 1
    return words.pop()


@pytest.mark.slow
def test_a_changed_exponent_turns_its_verdict(
    synthetic: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=4))
    assert word(table, BEST) is Word.FASTER
    monkeypatch.setattr(registry, "THEORIES", edited("hrx", BEST, 1.5))
    assert word(table, BEST) is Word.VIOLATES


def clocked(table: pd.DataFrame) -> pd.DataFrame:
    """Score errors s^-1/2 + s^1/2 around a turn at 0.05 N: both clocks are multiples of N."""
    s = table["effective_time"] / (0.05 * table["samples"])
    noise = np.exp(0.02 * np.random.default_rng(1).standard_normal(table["seed"].max() + 1))
    error = np.where(s > 0, s.clip(lower=1e-9) ** -0.5 + s**0.5, 1e5)
    return table.assign(copies=0, score_error=error * noise[table["seed"]])


@pytest.mark.slow
def test_planted_clocks_are_recovered(synthetic: ModuleType) -> None:
    table = clocked(synthetic.synthetic_table(synthetic.Grid(seeds=4)))
    general, memory, ratio = (
        next(v for v in evaluate(table) if v.prediction == name) for name in CLOCKS
    )
    assert general.exponent == pytest.approx(-1, abs=0.05)
    assert memory.exponent == pytest.approx(-1, abs=0.01)
    assert memory.verdict is Word.AGREES
    assert ratio.exponent == pytest.approx(0, abs=0.05)
    assert ratio.verdict is Word.DISAGREES


# --- the record of the registry -------------------------------------------------------------------


def stored(theories: list[str] | None = None) -> dict[str, Any]:
    """As a study has it beside its results."""
    read: dict[str, Any] = json.loads(json.dumps({**record(theories), "written": "2026-01-02"}))
    return read


def test_an_unchanged_registry_was_fixed_before_the_data() -> None:
    told = compared(stored())
    assert told.startswith("fixed before the first trial trained (sha256 ")
    assert told.endswith(", 2026-01-02)")
    assert compared(stored(["hrx"]), ["hrx"]).startswith("fixed")


def test_an_edit_after_the_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored()
    monkeypatch.setattr(registry, "THEORIES", edited("hrx", BEST, 0.75))
    told = compared(before)
    assert told.startswith("edited after the first trial trained: sha256 was ")
    assert f"was {before['sha256'][:12]}, 2026-01-02, is " in told
    assert f"is {record()['sha256'][:12]}; " in told
    assert f"{BEST}: exponent at d = 1 was 0.5, is 0.75" in told
    assert told.count("was ") == 2


@pytest.mark.parametrize(
    "change",
    [
        {"margin": 0.3},
        {"kind": Kind.SHARP},
        {"axis": "width"},
        {"assumptions": ()},
        {"quantity": "x"},
    ],
)
def test_every_part_of_a_prediction_counts(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    before = stored()
    monkeypatch.setattr(registry, "THEORIES", edited("hrx", BEST, **change))
    assert record()["sha256"] != before["sha256"]
    assert "edited after" in compared(before)


def test_a_theory_that_is_new_is_told_and_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored()
    monkeypatch.setattr(registry, "THEORIES", registry.THEORIES[:-1])
    assert "divergence of samples against samples: was there, is gone" in compared(before)
    fewer = stored()
    monkeypatch.undo()
    assert "divergence of samples against samples: is new" in compared(fewer)


def test_other_theories_to_judge_are_told() -> None:
    told = compared(stored(["hrx"]), ["hrx", "memorization"])
    assert told.startswith("fixed before")
    assert told.endswith("the theories to judge were hrx, and are hrx, memorization")


def test_what_is_no_record_says_so() -> None:
    assert compared(None).startswith("not recorded")
    forged = {**stored(), "sha256": "0" * 64}
    for wrong in ("{", {}, {"predictions": 3}, forged):
        assert "damaged" in compared(wrong)


def test_theories_are_judged_as_chosen(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=3))
    every, chosen = evaluate(table), evaluate(table, theories=["linearisation"])
    assert {v.theory_key for v in chosen} == {"linearisation"}
    assert len({v.theory_key for v in every}) > 1
    with pytest.raises(ValueError, match="no theory is called 'ntk'"):
        evaluate(table, theories=["ntk"])


# --- side by side ---------------------------------------------------------------------------------


def test_the_matrix_has_each_verdict_and_whether_the_assumptions_held(
    synthetic: ModuleType,
) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=3)).assign(trainer="adam")
    evaluation = evaluate(table)
    shown = matrix(evaluation, law_names(table))
    assert shown is not None
    assert shown["columns"] == ["d = 2"]
    by_key = {theory["key"]: theory for theory in shown["theories"]}
    (cell,) = by_key["hrx"]["rows"][0]["cells"]
    words = [v.verdict for v in evaluation if v.prediction == BEST]
    assert [told for _badge, told, _where in cell["words"]] == [str(word) for word in words]
    assert "violated: full-batch gradient descent" in cell["assumed"]
    assert cell["assumed"].startswith("holds: ")
    assert "Clocks of memorization" in shown["unseen"]
    assert matrix(Evaluation.unjudged(table), law_names(table)) is None


@pytest.mark.slow
def test_the_page_says_it(synthetic: ModuleType, tmp_path: Path) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=3, widths=(4096,), step_sizes=(1.0,)))
    own = Prediction(
        "mine", "best_score_error", "samples", 0.5, Kind.BOUND, 0.15, "me", "It falls."
    )
    told = compared(stored(["hrx"]), ["hrx"])
    write_report(tmp_path, evaluate(table, extra=[own], theories=["hrx"]), registered=told)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Theories side by side" in page
    assert f"The predictions were {told}." in page
    assert "Of your own" in page
    assert "theories=['hrx']" in (tmp_path / "figures" / "redraw.py").read_text()
