"""Early-stopped descent learns the score at the minimax rate (docs/theory.md, section 7.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.data.curves.quantity import Quantity
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory

Numbers = TypeVar("Numbers", float, NDArray[np.float64])

MINIMAX = (
    "minimax rate N^(-2/(2+D)) for Lipschitz functions of D = d+1 variables (Stone 1982); version "
    "4 (2026) of the preprint by Han, Razaviyayn and Xu claims minimax-optimal bounds; Kuzborskij "
    "and Szepesvari (2022) reach the rate with early-stopped gradient descent for scalar regression"
)


def minimax_exponent(dimension: Numbers) -> Numbers:
    """2/(d + 3), the exponent in N of Lipschitz regression in D = d + 1 variables."""
    return 2 / (dimension + 3)


def _rows(d: int, _measured: Measured) -> Iterator[Prediction]:
    minimax = minimax_exponent(d)
    yield Prediction(
        "best error against samples",
        Quantity.BEST_ERROR,
        "samples",
        minimax,
        Kind.BOUND,
        MARGIN,
        MINIMAX,
        "Stopped at the best time, the score error falls with the number of samples N at "
        f"least as fast as N^-{minimax:.3g}.",
        theory="minimax regression",
        assumptions=(Assumption.SUPPORT,),
    )
    yield Prediction(
        "best stopping time against samples",
        Quantity.BEST_TIME,
        "samples",
        -(d + 2) / (d + 3),
        Kind.SHARP,
        MARGIN,
        "balance of bias and variance for Lipschitz targets, with NTK eigenvalues "
        "l^-(D+1) and Sobolev smoothness 1",
        "The best effective stopping time (step size times steps) grows with the number of "
        f"samples as N^{(d + 2) / (d + 3):.3g} when the target is Lipschitz and no smoother.",
        theory="bias and variance of a Lipschitz target",
        assumptions=(Assumption.NO_SMOOTHER,),
    )
    yield Prediction(
        "best unweighted error against samples",
        Quantity.BEST_ERROR_UNWEIGHTED,
        "samples",
        minimax,
        Kind.BOUND,
        MARGIN,
        MINIMAX + "; the weight alpha^2/h^2 changes the constant, which blows up as T_0 -> 0",
        "The unweighted score error, at the same stopping time, falls with N at least as fast "
        f"as N^-{minimax:.3g}.",
        theory="minimax regression",
        assumptions=(Assumption.SUPPORT,),
    )


HRX = Theory(
    key="hrx",
    name="Early-stopped descent at the minimax rate",
    paper="hrx",
    year=2026,
    assumptions=(
        Assumption.LIPSCHITZ,
        Assumption.DESCENT,
        Assumption.LAZY,
        Assumption.STEP,
        Assumption.ONE_COPY,
    ),
    rows=_rows,
)
