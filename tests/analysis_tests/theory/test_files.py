"""Theories as files: an edit there, and nowhere else, turns what a study's verdict is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.theory import Prediction, registry
from analysis.theory.prediction import Measured, Theory
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.judging import Word

BEST = "best error against samples"
CLOCKS = (
    "generalization time against samples",
    "memorization time against samples",
    "memorization over generalization time against samples",
)


def edited(key: str, name: str, exponent: float) -> tuple[Theory, ...]:
    """The registry with another exponent in one row of a theory."""
    (old,) = (theory for theory in registry.THEORIES if theory.key == key)

    def rows(dimension: int, measured: Measured) -> Iterator[Prediction]:
        for row in old.rows(dimension, measured):
            yield replace(row, exponent=exponent) if row.name == name else row

    new = replace(old, rows=rows)
    return tuple(new if theory is old else theory for theory in registry.THEORIES)


def word(table: pd.DataFrame, name: str) -> Word:
    words = {v.verdict for v in evaluate(table) if v.prediction == name}
    assert len(words) == 1
    return words.pop()


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
