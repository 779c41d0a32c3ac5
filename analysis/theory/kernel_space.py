"""The spectrum of the tangent kernel and how near its space comes to a Lipschitz target
(docs/theory.md, sections 7.1 and 7.4)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.data.curves.quantity import Quantity
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory


def _rows(d: int, _measured: Measured) -> Iterator[Prediction]:
    yield Prediction(
        "approximation against norm",
        Quantity.APPROXIMATION,
        "norm",
        2 / d,
        Kind.BOUND,
        MARGIN,
        "Bach (2017) for Lipschitz targets: the RKHS of the NTK is a Sobolev space of order "
        "(D+1)/2",
        "The best function of squared RKHS norm R_H comes as close to the target as R_H^-"
        f"{2 / d:.3g}, or closer.",
        theory="approximation in the kernel's space",
        assumptions=(Assumption.SUPPORT, Assumption.LIPSCHITZ),
    )
    yield Prediction(
        "kernel eigenvalues",
        Quantity.NTK_EIGENVALUE,
        "index",
        (d + 2) / (d + 1),
        Kind.SHARP,
        MARGIN,
        "Bach (2017); Bietti and Mairal (2019): (D+1)/D",
        f"The eigenvalues of the neural tangent kernel fall with their index i as "
        f"i^-{(d + 2) / (d + 1):.3g}.",
        theory="spectrum of the kernel",
        assumptions=(Assumption.DENSITY,),
    )


KERNEL_SPACE = Theory(
    key="kernel_space",
    name="Spectrum and space of the tangent kernel",
    paper="bach",
    year=2017,
    assumptions=(),
    rows=_rows,
)
