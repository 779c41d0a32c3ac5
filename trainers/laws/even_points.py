"""Points that fill the unit cube evenly: means over them converge faster than over plain draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SOBOL_DIMENSIONS = 21201
"""As many coordinates as scipy has direction numbers for; the rest are independent."""

_BITS = 30
"""Binary digits of a scrambled coordinate; those below are independent."""


def uniforms(n: int, dimensions: int, rng: np.random.Generator) -> Array:
    """n points of (0, 1)^dimensions: uniform each, evenly spread together.

    Sobol' points under Matousek's random linear scramble and a digital shift (J. Complexity 14,
    1998), from `rng` alone: the points must not change with a release of scipy.
    """
    from scipy.stats import qmc  # which loads all of scipy.stats, and laws are read by all commands

    even = min(dimensions, _SOBOL_DIMENSIONS)
    power = max((n - 1).bit_length(), 1)
    plain = qmc.Sobol(even, scramble=False, bits=_BITS).random_base2(power) * 2.0**_BITS
    # the i-th point is the sum modulo 2 of the directions that i's Gray code names
    directions = plain.astype(np.int64)[2 ** np.arange(1, power + 1) - 1]
    place = np.arange(_BITS - 1, -1, -1)
    digits = (directions[:, :, None] >> place) & 1
    scramble = np.tril(rng.integers(0, 2, (even, _BITS, _BITS)), -1) + np.eye(_BITS, dtype=np.int64)
    mixed = np.einsum("dba,kda->kdb", scramble, digits) % 2
    points = rng.integers(0, 2**_BITS, (1, even))
    for direction in (mixed << place).sum(axis=2):
        points = np.concatenate([points, points ^ direction])
    fine = (points[:n] + rng.random((n, even))) * 2.0**-_BITS
    every = np.concatenate([fine, rng.random((n, dimensions - even))], axis=1)
    return np.asarray(np.clip(every, 2.0**-53, 1 - 2.0**-53))
