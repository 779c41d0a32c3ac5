"""The best error and time of kernel descent, from its spectrum and the target's coefficients
(docs/theory.md, section 7.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from analysis.data.curves.quantity import Quantity
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory

_FITTED = (
    "source and capacity conditions: {}, with b and s fitted from the spectrum and the target's "
    "coefficients"
)
_SUMMED = (
    "bias and variance summed over the measured spectrum and the target's coefficients in it; no "
    "power law is assumed"
)


def _rows(_d: int, measured: Measured) -> Iterator[Prediction]:
    """The measured spectrum's own rate where it is known, else that of powers fitted to it."""
    error = time = math.nan
    b, s = measured.capacity, measured.source
    if b is not None and s is not None:
        error = s * b / (s * b + 1)
        time = -b / (s * b + 1)
    for quantity, name, exponent, formula, fitted, summed in (
        (
            Quantity.KERNEL_BEST_ERROR,
            "kernel's best error against samples",
            error,
            "s b / (s b + 1)",
            "Kernel gradient descent, stopped at its best time, has a score error that falls as "
            "N^-(s b/(s b + 1)), where b is the decay of the spectrum and s the smoothness of the "
            "target in it.",
            "Kernel gradient descent, stopped at its best time, has a score error that falls over "
            "this range of N as the kernel's spectrum and the target's coefficients in it say.",
        ),
        (
            Quantity.KERNEL_BEST_TIME,
            "kernel's best time against samples",
            time,
            "b / (s b + 1), where bias and variance are equal",
            "The best effective time of kernel gradient descent grows as N^(b/(s b + 1)), where b "
            "is the decay of the spectrum and s the smoothness of the target in it.",
            "The best effective time of kernel gradient descent grows over this range of N as the "
            "kernel's spectrum and the target's coefficients in it say.",
        ),
    ):
        known = measured.spectral.get(quantity)
        yield Prediction(
            name,
            quantity,
            "samples",
            exponent if known is None else known[0],
            Kind.SHARP,
            MARGIN,
            _FITTED.format(formula) if known is None else _SUMMED,
            fitted if known is None else summed,
            growth=None if known is None else known[1],
            theory="source and capacity" if known is None else "spectrum and coefficients",
            assumptions=(Assumption.POWERS,) if known is None else (),
        )


SOURCE_CAPACITY = Theory(
    key="source_capacity",
    name="Source and capacity of the tangent kernel",
    paper="caponnetto",
    year=2007,
    assumptions=(Assumption.STEP, Assumption.ONE_COPY),
    rows=_rows,
)
