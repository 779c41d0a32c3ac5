"""What a table says about itself: copies, and rows that move together."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fits.remarks import copies, moves_together, remarks

X = 2.0 ** np.arange(5, 11)


def table(
    shift: float, tilt: float, seeds: int = 5, number: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    u = np.log(X) - np.log(X).mean()
    y = shift * rng.standard_normal((seeds, 1)) + tilt * rng.standard_normal((seeds, 1)) * u
    y = X**-0.5 * np.exp(y + 0.1 * rng.standard_normal((seeds, len(X))))
    return np.tile(X, seeds), y.ravel()


@pytest.mark.parametrize(("shift", "tilt"), [(0.3, 0.0), (0.0, 0.2)])
def test_rows_that_share_effects_are_found_out(shift: float, tilt: float) -> None:
    found = [moves_together(*table(shift, tilt, number=i)) for i in range(40)]
    assert np.mean([bool(f) for f in found]) > 0.8
    assert "name its column with --seed" in next(f for f in found if f)
    by_level = np.argsort(table(shift, tilt)[0], kind="stable")
    x, y = (v[by_level] for v in table(shift, tilt))
    assert moves_together(x, y) == found[0]


def test_independent_rows_are_not() -> None:
    assert sum(bool(moves_together(*table(0.0, 0.0, number=i))) for i in range(300)) <= 3


def test_no_order_of_rows_is_taken_for_seeds_where_it_cannot_be() -> None:
    x, y = table(0.3, 0.0)
    assert moves_together(x, y)
    assert not moves_together(x[1:], y[1:])  # x have different numbers of rows
    ordered = np.lexsort((y, x))
    assert not moves_together(x[ordered], y[ordered])
    assert not moves_together(X, X**-0.5)
    assert not moves_together(x, x**-0.5)


def test_copies_are_counted() -> None:
    x, y = table(0.0, 0.0)
    seed = np.repeat(np.arange(5), len(X))
    assert remarks(x, y, seed) == []
    twice = [np.concatenate([v, v[:3]]) for v in (x, y, seed)]
    assert "3 rows are copies of others, with the same x, y and seed" in remarks(*twice)[0]
    assert "3 rows are copies of others, with the same x and y" in copies(twice[0], twice[1], None)
    one = [v[: len(x) + 1] for v in twice]
    assert "1 row is a copy of others" in copies(one[0], one[1], one[2])


def test_short_numbers_meet_by_chance() -> None:
    x = np.repeat(X, 2)
    assert not copies(x, np.full(len(x), 0.25), None)
    assert copies(x, np.full(len(x), 0.25), np.zeros(len(x), dtype=np.int64))
