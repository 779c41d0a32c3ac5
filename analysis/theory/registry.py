"""The registry of predictions: what theory says of the exponent b in error ~ axis^-b.

| symbol | meaning                                                   |
|--------|-----------------------------------------------------------|
| d      | dimension of X_0                                          |
| D      | d + 1, intrinsic dimension of the input (space and time)  |
| N, m   | samples, width                                            |
| eta    | step size; eta tau* the best effective stopping time      |
| R_H    | bound on the squared RKHS norm                            |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from analysis.data.quantity import Quantity
from analysis.fits.growth import Growth

Numbers = TypeVar("Numbers", float, NDArray[np.float64])


class Kind(StrEnum):
    """`bound`: b is at least this. `sharp`: b equals this. `qualitative`: b stays below
    `threshold`, so the error does not vanish at the rate that stopping reaches."""

    BOUND = "bound"
    SHARP = "sharp"
    QUALITATIVE = "qualitative"


class Assumption(StrEnum):
    """What a theory assumes, where a study can find out whether it holds
    (`analysis.verdicts.assumed`)."""

    SUPPORT = "bounded support"
    SUB_GAUSSIAN = "sub-Gaussian law"
    LIPSCHITZ = "Lipschitz f*"
    NO_SMOOTHER = "f* no smoother than Lipschitz"
    DENSITY = "features with a density bounded from below"
    NOISE = "noisy labels"
    DESCENT = "full-batch gradient descent"
    LAZY = "network near its kernel limit"
    STEP = "eta below 2N/lambda_max"
    POWERS = "eigenvalues fall as a power"


@dataclass(frozen=True)
class Prediction:
    """A rate that theory states.

    exponent: b; NaN where it needs kernel data that were not given. margin: what counts as equal,
    a share of |exponent|, or, for exponent 0, the largest relative change over the whole range.
    threshold: for `qualitative`, the exponent that the measured one must stay below. needs: names
    that `applies` wants in its conditions. growth: the law in which b stands, None a plain power.
    """

    name: str
    quantity: str
    axis: str
    exponent: float
    kind: Kind
    margin: float
    source: str
    statement: str
    threshold: float = math.nan
    needs: tuple[str, ...] = ()
    growth: Growth | None = None
    theory: str = ""
    assumptions: tuple[Assumption, ...] = ()

    def __post_init__(self) -> None:
        # A kind given as plain text is no `Kind`, and would be judged by another rule.
        object.__setattr__(self, "kind", Kind(self.kind))

    def applies(self, conditions: Mapping[str, object] | None = None) -> bool:
        """Whether the prediction says anything under `conditions` (a curve's fixed values and
        measured constants): its exponent is known, and each of `needs` is there and not zero."""
        given = conditions or {}
        return math.isfinite(self.exponent) and all(given.get(name) for name in self.needs)


MARGIN = 0.15
MARGIN_OF_ZERO = 0.05

MINIMAX = (
    "minimax rate N^(-2/(2+D)) for Lipschitz functions of D = d+1 variables (Stone 1982); version "
    "4 (2026) of the preprint by Han, Razaviyayn and Xu claims minimax-optimal bounds; Kuzborskij "
    "and Szepesvari (2022) reach the rate with early-stopped gradient descent for scalar regression"
)

_NETWORK = (Assumption.DESCENT, Assumption.LAZY, Assumption.STEP)
_REGRESSION = (Assumption.SUPPORT, Assumption.LIPSCHITZ, *_NETWORK)


Spectral = Mapping[Quantity, tuple[float, Growth]]
"""What the measured spectrum itself says of the kernel's best error and time against samples: the
exponent over a study's own range of N, and what stands beside that power."""

_FITTED = (
    "source and capacity conditions: {}, with b and s fitted from the spectrum and the target's "
    "coefficients"
)
_SUMMED = (
    "bias and variance summed over the measured spectrum and the target's coefficients in it; no "
    "power law is assumed"
)


def minimax_exponent(dimension: Numbers) -> Numbers:
    """2/(d + 3), the exponent in N of Lipschitz regression in D = d + 1 variables."""
    return 2 / (dimension + 3)


def predictions(
    dimension: int,
    capacity: float | None = None,
    source: float | None = None,
    spectral: Spectral | None = None,
) -> list[Prediction]:
    """Every prediction at dimension d; docs/theory.md, section 7, derives them.

    The kernel's rows need what was measured of its spectrum, and have exponent NaN without it:
    `spectral`, or in its place capacity and source, b and s of the spectrum and the target's
    coefficients, fitted as powers. Raises ValueError for d < 1.
    """
    if dimension < 1:
        raise ValueError(f"dimension = {dimension} must be at least 1")
    d = dimension
    minimax = minimax_exponent(d)
    return [
        Prediction(
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
            assumptions=_REGRESSION,
        ),
        Prediction(
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
            assumptions=(Assumption.LIPSCHITZ, Assumption.NO_SMOOTHER, *_NETWORK),
        ),
        Prediction(
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
            assumptions=(Assumption.NOISE, Assumption.DESCENT),
        ),
        Prediction(
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
            assumptions=(Assumption.NOISE,),
        ),
        Prediction(
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
            assumptions=(Assumption.DESCENT, Assumption.STEP),
        ),
        Prediction(
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
            assumptions=(Assumption.DESCENT, Assumption.STEP),
        ),
        Prediction(
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
        ),
        Prediction(
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
        ),
        *_of_the_kernel(capacity, source, spectral or {}),
        Prediction(
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
            assumptions=_REGRESSION,
        ),
        Prediction(
            "empirical Bayes error against samples",
            Quantity.EMPIRICAL_BAYES,
            "samples",
            1.0,
            Kind.SHARP,
            MARGIN,
            "Zhang, Yin, Liang and Liu (ICML 2024, arXiv:2402.15602): a kernel-based estimator of "
            "the score of any sub-Gaussian law has mean square error N^-1 at a fixed time, up to "
            "logarithms",
            "At a fixed T_0, in every dimension, the error of empirical Bayes, a formula on the N "
            "clean points without training, falls as 1/N up to logarithms: that much is possible.",
            theory="empirical Bayes",
            assumptions=(Assumption.SUB_GAUSSIAN,),
        ),
    ]


def _of_the_kernel(
    capacity: float | None, source: float | None, spectral: Spectral
) -> Iterator[Prediction]:
    """The kernel's best error and best time against samples."""
    error = time = math.nan
    if capacity is not None and source is not None:
        error = source * capacity / (source * capacity + 1)
        time = -capacity / (source * capacity + 1)
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
        known = spectral.get(quantity)
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
            assumptions=(*((Assumption.POWERS,) if known is None else ()), Assumption.STEP),
        )
