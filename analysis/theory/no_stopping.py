"""Descent that is never stopped fits the noise in its labels (docs/theory.md, section 7.5)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.data.curves.quantity import Quantity
from analysis.theory.hrx import minimax_exponent
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory


def _rows(d: int, _measured: Measured) -> Iterator[Prediction]:
    minimax = minimax_exponent(d)
    yield Prediction(
        "unstopped error against samples",
        Quantity.FINAL_ERROR,
        "samples",
        0.0,
        Kind.QUALITATIVE,
        MARGIN,
        "gradient descent that is not stopped interpolates noisy labels",
        "Without stopping, the network fits the noise in its labels and the score error does "
        f"not fall at the rate N^-{minimax:.3g} that stopping reaches.",
        threshold=minimax,
        theory="interpolation of noise",
        assumptions=(Assumption.DESCENT,),
    )
    yield Prediction(
        "never-stopped kernel error against samples",
        Quantity.INTERPOLATION_ERROR,
        "samples",
        0.0,
        Kind.QUALITATIVE,
        MARGIN,
        "the limit tau -> infinity of kernel gradient descent interpolates noisy labels",
        "Kernel gradient descent that is never stopped interpolates its noisy labels, and its "
        f"score error does not fall at the rate N^-{minimax:.3g} that stopping reaches.",
        threshold=minimax,
        theory="interpolation of noise",
    )


NO_STOPPING = Theory(
    key="no_stopping",
    name="Interpolation of noise, without stopping",
    paper="rakhlin",
    year=2019,
    assumptions=(Assumption.NOISE,),
    rows=_rows,
)
