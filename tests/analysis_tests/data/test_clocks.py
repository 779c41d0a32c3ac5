"""Generalization and memorization times of planted trajectories."""

from types import ModuleType

import numpy as np
import pytest

from analysis.data.curves.quantities import curves
from analysis.data.curves.quantity import CLOCKS, Quantity
from analysis.data.curves.trajectories import best, clocks
from analysis.verdicts.judging import usable

TIME = np.concatenate([[0.0], np.geomspace(0.5, 5e4, 160)])


def planted(turn: float, fall: float = 0.5, rise: float = 0.5) -> np.ndarray:
    """e = (s/turn)^-fall before the turn and (s/turn)^rise after it, as a smooth sum."""
    with np.errstate(divide="ignore"):
        s = TIME / turn
        return np.where(s > 0, np.where(s > 0, s, 1.0) ** -fall + s**rise, 1e9)


def exact(level: float, late: bool) -> float:
    """s/turn at which s^-1/2 + s^1/2 is `level` times its least, 2, before or after it."""
    root = level + np.sqrt(level**2 - 1)
    return float(root**2 if late else root**-2)


def test_the_clocks_are_those_of_the_planted_curve() -> None:
    turns = np.array([30.0, 200.0, 900.0])
    error = np.stack([planted(turn) for turn in turns])
    (generalized, first), (memorized, second) = clocks(np.tile(TIME, (3, 1)), error)
    np.testing.assert_allclose(generalized, turns * exact(1.1, late=False), rtol=2e-3)
    np.testing.assert_allclose(memorized, turns * exact(2.0, late=True), rtol=2e-3)
    assert not first.any()
    assert not second.any()


def test_a_memorization_that_was_not_reached_is_censored() -> None:
    late, falling = planted(2e4), planted(1e7)
    (generalized, first), (memorized, second) = clocks(
        np.tile(TIME, (2, 1)), np.stack([late, falling])
    )
    assert generalized[0] == pytest.approx(2e4 * exact(1.1, late=False), rel=2e-3)
    assert list(first) == [False, True]
    assert list(second) == [True, True]
    np.testing.assert_allclose(memorized, TIME[-1])


@pytest.mark.parametrize(
    "error",
    [
        [1, 0.8, 0.5, 0.3, 0.1, 0.35, 0.9],  # the least is before the least recorded one
        [1, 0.8, 0.5, 0.1, 0.102, 0.9, 2.0],  # a little after it
        [1, 0.8, 0.7, 0.101, 0.1, 2.0, 9.0],  # before it, and far below both
        [9, 3.0, 2.0, 0.1, 0.101, 0.7, 0.8],  # after it, and far below both
    ],
)
def test_the_generalization_time_is_known_at_coarse_records(error: list[float]) -> None:
    time = np.concatenate([[0.0], 2.0 ** np.arange(len(error))])[None]
    values = np.concatenate([[1.5 * error[0]], error])[None]
    turn, least, _ = best(time, values)
    (generalized, first), (memorized, second) = clocks(time, values)
    assert least <= min(error)
    assert time[0][values[0].argmin() - 1] < generalized < turn < memorized
    assert not first.any()
    assert not second.any()


def test_padding_and_gaps_do_not_matter() -> None:
    error = planted(200.0)
    full = clocks(TIME[None], error[None])
    padded = np.full((1, len(TIME) + 7), np.nan)
    time, values = padded.copy(), padded.copy()
    time[0, : len(TIME)], values[0, : len(TIME)] = TIME, error
    for (a, b), (c, d) in zip(full, clocks(time, values), strict=True):
        np.testing.assert_allclose(a, c)
        np.testing.assert_array_equal(b, d)
    unknown = clocks(TIME[None], np.full((1, len(TIME)), np.nan))
    assert np.isnan([unknown[0][0], unknown[1][0]]).all()


@pytest.mark.slow
def test_trials_with_one_copy_have_no_clocks(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid())
    assert not {c.quantity for c in curves(table)} & set(CLOCKS)
    for copies in (16, 0):  # 0: fresh
        found = {c.quantity: c for c in curves(table.assign(copies=copies)) if c.axis == "samples"}
        assert set(CLOCKS) <= set(found)
        ratio, memory, general = (
            found[q]
            for q in (
                Quantity.MEMORIZATION_RATIO,
                Quantity.MEMORIZATION_TIME,
                Quantity.GENERALIZATION_TIME,
            )
        )
        np.testing.assert_allclose(ratio.y, memory.y / general.y)
        assert ratio.geometric
        early = table.assign(copies=copies)
        early = early[early["effective_time"] <= 20]
        (cut,) = [
            c for c in curves(early)
            if (c.quantity, c.axis) == (Quantity.MEMORIZATION_TIME, "samples")
        ][:1]  # fmt: skip
        assert cut.censored.all()
        assert "not memorized" in usable(cut)[1]
