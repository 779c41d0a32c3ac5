"""What a theory is, and what it says: rates b in error ~ axis^-b, and what they assume.

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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from analysis.data.curves.quantity import Quantity
from analysis.fits.growth import Growth

MARGIN = 0.15
MARGIN_OF_ZERO = 0.05


class Kind(StrEnum):
    """`bound`: b is at least this. `sharp`: b equals this. `qualitative`: b stays below
    `threshold`, so the error does not vanish at the rate that stopping reaches. `ceiling`: the
    quantity itself is at most `threshold`, at every value of the axis; b is NaN."""

    BOUND = "bound"
    SHARP = "sharp"
    QUALITATIVE = "qualitative"
    CEILING = "ceiling"


LIMITED = (Kind.CEILING, Kind.QUALITATIVE)
"""Kinds that speak of `threshold`, not of `exponent`."""


NETWORK = "network"
"""A prediction that `needs` it speaks of networks that descend the gradient from 0, whose limit the
kernel is, and not of that limit, of which another one does."""


class Assumption(StrEnum):
    """What a theory assumes, where a study can find out whether it holds
    (`analysis.verdicts.assumed`)."""

    SUPPORT = "bounded support"
    SUB_GAUSSIAN = "sub-Gaussian law"
    MANY_POINTS = "many clean points within reach of the noise at T_0"
    LIPSCHITZ = "Lipschitz f*"
    NO_SMOOTHER = "f* no smoother than Lipschitz"
    DENSITY = "features with a density bounded from below"
    NOISE = "noisy labels"
    ONE_COPY = "one noisy copy a clean point, uniform times, weight 1"
    FRESH = "noise drawn anew at every step"
    DESCENT = "full-batch gradient descent"
    LAZY = "network near its kernel limit"
    STEP = "eta below 2N/lambda_max"
    POWERS = "eigenvalues fall as a power"
    SAMPLER = "samples by the true score like exact draws"
    START = "samples that start from the law at T"


@dataclass(frozen=True)
class Prediction:
    """A rate that theory states.

    exponent: b; NaN where it needs kernel data that were not given, and for a `ceiling`; 0 for a
    `qualitative` that does not say it, which speaks of `threshold` alone. margin:
    what counts as equal, a share of |exponent|, or, for exponent 0, by how much a level mean may
    differ from the geometric mean of all, so that one may be (1 + margin)^2 times another; for
    `qualitative`, how far below the threshold b has to be, a share of it. NaN is MARGIN, and 0 for
    `qualitative`.
    threshold: for `qualitative`, the exponent that the measured one must stay below; for `ceiling`,
    what the quantity must not pass. needs: names
    that `applies` wants in its conditions. growth: the law in which b stands, None a plain power.
    theory: the argument in a few words; theory_key: the `Theory` that says it, empty where none of
    the registry does. assumptions: of that theory too. Raises ValueError for a kind that is none,
    and for what is no number.
    """

    name: str
    quantity: str
    axis: str
    exponent: float
    kind: Kind
    margin: float = math.nan
    source: str = ""
    statement: str = ""
    threshold: float = math.nan
    needs: tuple[str, ...] = ()
    growth: Growth | None = None
    theory: str = ""
    assumptions: tuple[Assumption, ...] = ()
    theory_key: str = ""

    def __post_init__(self) -> None:
        # A kind given as plain text is no `Kind`, and would be judged by another rule.
        if self.kind not in list(Kind):
            raise ValueError(f"kind = {self.kind!r}: choose among {', '.join(Kind)}")
        object.__setattr__(self, "kind", Kind(self.kind))
        for key in ("exponent", "margin", "threshold"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise ValueError(
                    f"{key} = {value!r}: must be a number; where it depends on d, give `evaluate` "
                    "a function from d to a Prediction"
                )
        if self.kind is Kind.QUALITATIVE and math.isnan(self.exponent):
            object.__setattr__(self, "exponent", 0.0)
        if math.isnan(self.margin):
            margin = 0.0 if self.kind is Kind.QUALITATIVE else MARGIN
            object.__setattr__(self, "margin", margin)

    def applies(self, conditions: Mapping[str, object] | None = None) -> bool:
        """Whether the prediction says anything under `conditions` (a curve's fixed values and
        measured constants): what it says is known, and each of `needs` is there and not zero."""
        given = conditions or {}
        return not self.unsaid and all(given.get(name) for name in self.needs)

    @property
    def unsaid(self) -> list[str]:
        """The numbers that its kind wants and that it does not have: exponent, threshold."""
        key = "threshold" if self.kind in LIMITED else "exponent"
        return [] if math.isfinite(getattr(self, key)) else [key]


Spectral = Mapping[Quantity, tuple[float, Growth]]
"""What the measured spectrum itself says of the kernel's best error and time against samples: the
exponent over a study's own range of N, and what stands beside that power."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a kernel: capacity and source, b and s of the spectrum and the target's
    coefficients, fitted as powers, None where unknown; and what needs no power."""

    capacity: float | None = None
    source: float | None = None
    spectral: Spectral = field(default_factory=dict)


@dataclass(frozen=True)
class Theory:
    """A theory: where it is published, and what it says.

    key: its name in a study's `theories`. paper: its anchor among the references of docs/theory.md.
    assumptions: of all that it says; a prediction adds its own. rows: its predictions at dimension
    d, given what was measured of the kernel.
    """

    key: str
    name: str
    paper: str
    year: int
    assumptions: tuple[Assumption, ...]
    rows: Callable[[int, Measured], Iterable[Prediction]] = field(repr=False)

    def predictions(self, dimension: int, measured: Measured) -> list[Prediction]:
        """What it says at dimension d, with all that each row assumes."""
        return [
            replace(row, theory_key=self.key, assumptions=(*row.assumptions, *self.assumptions))
            for row in self.rows(dimension, measured)
        ]
