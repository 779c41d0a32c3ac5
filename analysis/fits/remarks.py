"""What a table of x and y should say about itself before its fit is believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.levels.intervals import Array, distinct
from analysis.text import counted, p_text

LINKED_P = 1e-3
"""Significance at which rows of different x are taken to share effects."""


def remarks(x: Array, y: Array, seed: NDArray[np.int64] | None) -> list[str]:
    """The sentences that hold of positive x, y [n] and seed [n], where it is given."""
    told = [copies(x, y, seed), "" if seed is not None else moves_together(x, y)]
    return [one for one in told if one]


def copies(x: Array, y: Array, seed: NDArray[np.int64] | None) -> str:
    """A sentence on rows that repeat others; empty where none does. Without seeds, values of y are
    told apart by four digits or more: shorter ones meet by chance."""
    columns = [x, y] if seed is None else [x, y, seed]
    rows = np.column_stack(columns)
    kinds, number = np.unique(rows, axis=0, return_counts=True)
    if seed is None:
        number = number[[len(f"{v:.15g}".replace(".", "").strip("0")) > 3 for v in kinds[:, 1]]]
    extra = int(np.sum(number - 1))
    if not extra:
        return ""
    are = "is a copy" if extra == 1 else "are copies"
    same = "x and y" if seed is None else "x, y and seed"
    return (
        f"{counted(extra, 'row')} {are} of others, with the same {same}: leave copies out, they "
        "count as trials of their own"
    )


def moves_together(x: Array, y: Array) -> str:
    """A sentence where the k-th rows of all x shift or tilt together, as those of one seed do;
    empty where they do not, where x have different numbers of rows, and where rows are sorted by y.

    F-tests of the rows' means and slopes in log y against what is left, with noise that is alike at
    all x.
    """
    levels, where = distinct(x)
    count = np.bincount(where)
    size = int(count[0]) if len(count) else 0
    if len(levels) < 3 or size < 2 or (count != size).any():
        return ""
    table = np.log(y)[np.argsort(where, kind="stable")].reshape(len(levels), size).T
    steps = np.diff(table, axis=0)
    if np.all((steps >= 0).all(axis=0) | (steps <= 0).all(axis=0)):
        return ""
    left = table - table.mean(axis=0)
    basis = np.linalg.qr(np.vander(np.log(levels) - np.log(levels).mean(), 2, increasing=True))[0]
    shared = np.sum((left @ basis) ** 2, axis=0)
    own, free = float(np.sum(left**2) - shared.sum()), size - 1
    if own <= 1e-20 * len(y):
        return ""
    ratio = shared / free / (own / (free * (len(levels) - 2)))
    p_value = 2 * float(special.fdtrc(free, free * (len(levels) - 2), ratio.max()))
    if p_value >= LINKED_P:
        return ""
    return (
        f"rows in the same place at each x move together ({p_text(p_value)}): if they share a "
        "seed, name its column with --seed, or the interval may be wrong"
    )
