"""Wide networks follow the flow of their tangent kernel (docs/theory.md, sections 4 and 7.6)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.data.curves.quantity import Quantity
from analysis.theory.prediction import (
    MARGIN,
    MARGIN_OF_ZERO,
    Assumption,
    Kind,
    Measured,
    Prediction,
    Theory,
)


def _rows(_d: int, _measured: Measured) -> Iterator[Prediction]:
    yield Prediction(
        "coupling against width",
        Quantity.COUPLING_AT_TIME,
        "width",
        1.0,
        Kind.SHARP,
        MARGIN,
        "squared linearisation error of a two-layer network; worst-case ReLU arguments give "
        "1/2 only",
        "At the same effective time, the squared distance between the network and its kernel "
        "limit falls with the width m as 1/m (worst-case arguments promise only m^-0.5).",
        theory="linearisation",
    )
    yield Prediction(
        "error against step size",
        Quantity.ERROR_AT_TIME,
        "step_size",
        0.0,
        Kind.SHARP,
        MARGIN_OF_ZERO,
        "gradient descent follows its flow for step sizes well below 2N/lambda_max",
        "At the same effective time (step size times steps), the score error does not depend "
        "on the step size, as long as that is well below the largest stable one.",
        theory="gradient flow",
    )


LINEARISATION = Theory(
    key="linearisation",
    name="Linearisation of wide networks",
    paper="jacot",
    year=2018,
    assumptions=(Assumption.DESCENT, Assumption.STEP),
    rows=_rows,
)
