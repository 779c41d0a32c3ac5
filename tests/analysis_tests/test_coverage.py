"""benchmarks/asymptotics.py and designs.py in small: verdicts, coverage and refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest


def test_what_is_allowed_follows_from_the_best_test(asymptotics: ModuleType) -> None:
    """The total variation between a curve and the nearest straight one, by drawing both and
    telling them apart by the likelihood ratio."""
    x = 64 * 2.0 ** np.arange(7)
    shape, error = asymptotics.Shape("correction", 1.0, 0.5), 0.07
    s = shape.of(x)
    straight = np.polyval(np.polyfit(np.log(x), s, 1), np.log(x))
    rng = np.random.default_rng(0)
    noise = error * rng.standard_normal((20_000, 7))
    nearer = [
        np.sum((mean + noise - straight) ** 2, axis=1) < np.sum((mean + noise - s) ** 2, axis=1)
        for mean in (straight, s)
    ]
    told = 0.85 - float(nearer[0].mean() - nearer[1].mean())
    assert told > 0.1
    assert asymptotics.allowed(x, shape, error) == pytest.approx(told, abs=0.015)
    assert asymptotics.allowed(x, shape, error / 100) == 0.1
    assert asymptotics.allowed(x, shape, error * 1000) == pytest.approx(0.85, abs=0.01)


def test_words_that_contradict_are_wrong(asymptotics: ModuleType) -> None:
    at, below, above, *_ = (a for a in asymptotics.ASKED)
    words = {w: str(w) for w in asymptotics.Word}
    wrong = [{words[w] for w in asymptotics.right_and_wrong(a, 0.5)[1]} for a in (at, below, above)]
    assert wrong == [{"faster", "violates"}, {"violates"}, {"faster", "consistent"}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "k", "q", "decided"), [("pure", 0.0, 0.0, 0.75), ("correction", 1.0, 1.0, 0.25)]
)
def test_verdicts_on_straight_and_bent_curves(
    asymptotics: ModuleType, kind: str, k: float, q: float, decided: float
) -> None:
    made = asymptotics.row(8, asymptotics.Shape(kind, k, q), 0.1, 8, 60)
    assert made.met, asymptotics.line(made)
    assert made.decided > decided
    assert made.decided >= made.before_decided


def test_a_verdict_that_is_often_wrong_is_not_met(asymptotics: ModuleType) -> None:
    made = asymptotics.row(7, asymptotics.Shape("pure"), 0.1, 5, 4)
    often = replace(made, worst=0.3, repetitions=1000)
    assert not often.met
    assert "NOT MET" in asymptotics.line(often)


def test_designs_leave_every_level_two_seeds_and_link_them(designs: ModuleType) -> None:
    assert len(designs.DESIGNS) == 16
    for cells in designs.DESIGNS.values():
        assert cells.sum(axis=0).min() >= 2
        assert np.sum(cells.sum(axis=1) >= 2) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["2 everywhere, 8 alone", "12 seeds, 50 % lost", "neighbours share 3"]
)
def test_incomplete_designs_are_covered(designs: ModuleType, name: str) -> None:
    for noise in designs.NOISES.values():
        held, _before, length = designs.design_row(designs.DESIGNS[name], noise, 100)
        assert held >= 0.93 - 3 * math.sqrt(0.95 * 0.05 / 100)
        assert length < 1.4


def test_refusals_ask_for_more_than_size(designs: ModuleType) -> None:
    by_size, refused = designs.refusal_row(20, 0.15, 0.0, 0.0, 50)
    assert by_size > 0.5
    assert refused <= 0.06
    assert designs.refusal_row(20, 0.02, 0.5, 2.5, 5) == [1.0, 1.0]
