"""Laws of growth: what a fit takes the curve to be, y = (A x^-b + c) g(x).

The known factor g is divided out before the fit, so every interval and diagnostic of `power_law`
holds for it as it stands: exponents are b, local slopes those of y / g. A law of your own is a
`Growth` with its factor, given to `fit_power_law(..., growth=)` or to a `Prediction`.

A `Continuation` is what is known of a curve from elsewhere, beyond the range that was measured.

Example:
    >>> log_power(1).form, OFFSET.form
    ('A x^-b log x', 'A x^-b + c')
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from analysis.levels.intervals import Array


@dataclass(frozen=True)
class Growth:
    """factor: g [n] -> [n], positive wherever x is, else the fit is refused; None is 1.
    text: g in words. offset: whether c >= 0 is fitted, else it is 0. within: whether b is asked of
    the range that was measured, and not of large x."""

    text: str = ""
    factor: Callable[[Array], Array] | None = field(default=None, hash=False)
    offset: bool = False
    within: bool = False

    @property
    def form(self) -> str:
        """The law as a formula."""
        power = "A x^-b + c" if self.offset else "A x^-b"
        if not self.text:
            return power
        return f"({power}) {self.text}" if self.offset else f"{power} {self.text}"

    def of(self, x: Array) -> Array:
        """g(x) [n]."""
        return np.ones(len(x)) if self.factor is None else np.asarray(self.factor(x), dtype=float)


@dataclass(frozen=True, eq=False)
class Continuation:
    """How a curve goes on beyond its range, as known from elsewhere: y = P(x) but for a power of x,
    a factor, and a correction that dies out.

    name: what knows it, in words. log_shape: x [n] -> log P [n], within the range. low, high: the
    least and the largest exponent of P over windows beyond the range. reach: where they end.
    draws: of how many draws of the law P is known where the curve pools draws, else 0. alone:
    whether nothing else is expected to bend the curve.
    """

    name: str
    log_shape: Callable[[Array], Array]
    low: float
    high: float
    reach: float
    draws: int = 0
    alone: bool = True


POWER = Growth()
OFFSET = Growth(offset=True)


def log_power(p: float, offset: bool = False) -> Growth:
    """y = A x^-b (log x)^p, natural logarithm; x > 1. p = 0 is a plain power."""
    if p == 0:
        return OFFSET if offset else POWER

    def factor(x: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(x) ** p)

    return Growth("log x" if p == 1 else f"(log x)^{p:g}", factor, offset)
