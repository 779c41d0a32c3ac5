"""Where a sample's eigenvalues tell the exponent of the kernel's operator (docs/theory.md, 9).

Two things spoil it, one at each end of the spectrum:

- *Sampling.* Eigenvalue i of K/N exceeds that of the operator by a share that grows as i/N. To
  first order it goes as 1/N, so the mean spectrum of parts of the sample, of N/PARTS points each,
  shows it, and takes it out (the jackknife). The window ends where the share reaches BIAS.
- *Few degrees.* Eigenvalues belong to degrees of polynomials in the D = d + 1 variables, and
  follow their power as degrees become many. Constants and linear functions (degrees below
  LEAST_DEGREE) say more of the law than of the kernel: the window begins after as many eigenvalues.
  What it holds must reach MOST_DEGREE at least: binom(D + 5, 5) eigenvalues, 56 at d = 2, 252 at
  d = 4 and 2002 at d = 8. The bend that is left is for the verdict's exponent at large i.

numpy only: the analysis finds the window of stored audits by the same rule.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BIAS = 0.1
LEAST_DEGREE, MOST_DEGREE = 2, 5
SHORTEST = 3.0
"""A window as short as this says how far the spectrum is from one that decides."""


def polynomials(dimension: int, degree: int) -> int:
    """How many polynomials of at most this degree in D = dimension + 1 variables are linearly
    independent."""
    return math.comb(dimension + 1 + degree, degree)


def window(dimension: int, index: Array, excess: Array) -> tuple[int, int]:
    """First and last index (from 1) of the window. index [n], rising; excess [n]: the share by
    which the sample's eigenvalue there exceeds the operator's.

    Where sampling leaves too few degrees, the last factor SHORTEST: too short for any verdict.
    """
    beyond = excess > BIAS
    kept = int(beyond.argmax()) if beyond.any() else len(index)
    last = int(index[max(kept, 1) - 1])
    first = polynomials(dimension, LEAST_DEGREE - 1) + 1
    short = last < polynomials(dimension, MOST_DEGREE)
    return max(1, math.floor(last / SHORTEST)) if short else first, last


def less_bias(whole: Array, parts: Array, count: int) -> Array:
    """Eigenvalues [p] of the operator, from those of K/N of a sample and the mean of those of its
    `count` equal parts: what goes as 1/N is gone."""
    return np.asarray(whole - (parts - whole) / (count - 1))
