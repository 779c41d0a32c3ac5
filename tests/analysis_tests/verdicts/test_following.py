"""Verdicts on weighted and unweighted errors, where one of them is judged with what is known."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from analysis.data.curves.quantities import curves
from analysis.data.curves.quantity import Quantity
from analysis.fits.asymptotic import Asymptotic
from analysis.fits.growth import Continuation
from analysis.theory import Kind, Prediction
from analysis.verdicts.following import Judged, followed
from analysis.verdicts.judging import Verdict, fit_curve, judge
from analysis.verdicts.rules import Word

SPECTRUM = Continuation("the spectrum", lambda x: 0 * x, 0.35, 0.35, 2**17)


@pytest.fixture(scope="module")
def pair(synthetic: ModuleType) -> tuple[Judged, Judged]:
    """The weighted error and the unweighted one of the same networks, each against a bound."""
    made = synthetic.synthetic_table(synthetic.Grid(widths=(), step_sizes=(), seeds=4))
    found = []
    for quantity in (Quantity.BEST_ERROR, Quantity.BEST_ERROR_UNWEIGHTED):
        curve = next(c for c in curves(made) if (c.quantity, c.axis) == (quantity, "samples"))
        bound = Prediction(quantity, quantity, "samples", 0.4, Kind.BOUND, 0.15, "", "")
        found.append((bound, replace(judge(bound, fit_curve(curve)), curve=curve)))
    return found[0], found[1]


def at_large(verdict: Verdict, low: float, high: float, word: Word, known: bool) -> Verdict:
    """The verdict with these limits at large N."""
    fit = replace(verdict.fitted)
    seen = Asymptotic((low + high) / 2, low, high, 0.95, False, True)
    fit.__dict__["asymptotic"] = replace(seen, known=SPECTRUM if known else None)
    return replace(verdict, fitted=fit, verdict=word)


@pytest.mark.parametrize("known", [False, True])
def test_what_knows_of_large_values_is_not_overruled_by_what_does_not(
    pair: tuple[Judged, Judged], known: bool
) -> None:
    (bound, weighted), (other, unweighted) = pair
    open_ = at_large(weighted, 0.3, 0.45, Word.UNDETERMINED, known)
    faster = at_large(unweighted, 0.45, 0.6, Word.FASTER, False)
    (_, first), (_, second) = followed([(bound, open_), (other, faster)])
    if known:
        assert (first.verdict, first.follows) == (Word.UNDETERMINED, None)
        assert second.verdict is Word.UNDETERMINED
        assert "has one exponent with it at large values" in second.reason
    else:
        assert first.follows is faster
        assert second is faster


def test_two_that_agree_stay(pair: tuple[Judged, Judged]) -> None:
    (bound, weighted), (other, unweighted) = pair
    both = [
        (bound, at_large(weighted, 0.45, 0.5, Word.FASTER, True)),
        (other, at_large(unweighted, 0.45, 0.6, Word.FASTER, False)),
    ]
    assert [v.verdict for _, v in followed(both)] == [Word.FASTER] * 2


def test_the_unweighted_one_follows_what_is_known(pair: tuple[Judged, Judged]) -> None:
    (bound, weighted), (other, unweighted) = pair
    known = at_large(weighted, 0.45, 0.5, Word.FASTER, True)
    open_ = at_large(unweighted, 0.2, 0.6, Word.UNDETERMINED, False)
    _, (_, second) = followed([(bound, known), (other, open_)])
    assert second.follows is known
    assert np.isclose(second.follows.fitted.asymptotic.low, 0.45)


def test_what_its_own_curve_cannot_show_follows_nothing(pair: tuple[Judged, Judged]) -> None:
    """Too few test points, or too few values: not judged, whatever the other one is."""
    (bound, weighted), (other, unweighted) = pair
    known = at_large(weighted, 0.45, 0.5, Word.FASTER, True)
    open_ = at_large(unweighted, 0.2, 0.6, Word.UNDETERMINED, False)
    few = replace(open_, curve=replace(open_.curve, effective_points=12.0))
    short = open_.curve.only(open_.curve.x <= 512)
    brief = replace(judge(other, fit_curve(short)), curve=short)
    assert np.isfinite(brief.exponent)
    assert brief.verdict is Word.UNDETERMINED
    for own in (few, brief):
        _, (_, second) = followed([(bound, known), (other, own)])
        assert second is own
