"""The best error and time of kernel descent, and of networks near it, from the kernel's spectrum
and the target's coefficients (docs/theory.md, section 7.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from analysis.data.curves.quantity import Quantity
from analysis.theory.prediction import (
    MARGIN,
    NETWORK,
    Assumption,
    Kind,
    Measured,
    Prediction,
    Theory,
)

_FITTED = (
    "source and capacity conditions: {}, with b and s fitted from the spectrum and the target's "
    "coefficients"
)
_SUMMED = (
    "bias and variance summed over the measured spectrum and the target's coefficients in it; no "
    "power law is assumed"
)


_KERNEL = "Kernel gradient descent"
_NETWORK = "A network near its kernel limit"


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
            f"{_KERNEL}, stopped at its best time, has a score error that falls as "
            "N^-(s b/(s b + 1)), where b is the decay of the spectrum and s the smoothness of the "
            "target in it.",
            f"{_KERNEL}, stopped at its best time, has a score error that falls over "
            "this range of N as the kernel's spectrum and the target's coefficients in it say.",
        ),
        (
            Quantity.KERNEL_BEST_TIME,
            "kernel's best time against samples",
            time,
            "b / (s b + 1), where bias and variance are equal",
            f"{_KERNEL} has a best effective time that grows as N^(b/(s b + 1)), where b "
            "is the decay of the spectrum and s the smoothness of the target in it.",
            f"{_KERNEL} has a best effective time that grows over this range of N as the "
            "kernel's spectrum and the target's coefficients in it say.",
        ),
    ):
        known = measured.spectral.get(quantity)
        kernel = Prediction(
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
        yield kernel
        yield replace(
            kernel,
            name=name.replace("kernel's", "network's"),
            quantity=_OF_NETWORKS[quantity],
            statement=kernel.statement.replace(_KERNEL, _NETWORK),
            needs=(NETWORK,),
            assumptions=(Assumption.DESCENT, Assumption.LAZY, *kernel.assumptions),
        )


_OF_NETWORKS = {
    Quantity.KERNEL_BEST_ERROR: Quantity.BEST_ERROR,
    Quantity.KERNEL_BEST_TIME: Quantity.BEST_TIME,
}


SOURCE_CAPACITY = Theory(
    key="source_capacity",
    name="Source and capacity of the tangent kernel",
    paper="caponnetto",
    year=2007,
    assumptions=(Assumption.STEP, Assumption.ONE_COPY),
    rows=_rows,
)
