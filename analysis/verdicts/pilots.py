"""How much quantities scatter over seeds: pilot figures, for what a study will decide (`expected`).

Measured with trials of infinite width, 32 seeds at N = 64 to 2048 in d = 1, 2 and 4, for a Gaussian
mixture of 8 components (std 0.1) and 16 atoms, T_0 = 0.05; and with networks (m = 2048 against N,
m = 64 to 8192 at N = 512; 8 seeds, d = 2) of the same laws. Another law scatters otherwise: on a
mixture with other centres, d = 2 and 4, 5 networks (m = 512) and 64 kernels, half-widths told were
0.61 to 1.21 times those given, but for the networks' best time in d = 2 (0.44), whose scatter below
N = 256 is large and differs much from law to law. Where a study has trials, their own scatter
corrects it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from analysis.data.curves.quantity import Quantity
from analysis.levels.intervals import Array

DIMENSIONS = (1, 2, 4)
"""The d of the pilots."""
MIDDLE = 512
"""The N at which `Pilot.scatter` is given."""
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Pilot:
    """Figures of one quantity at the pilots' d. One seed's value scatters by scatter (N/MIDDLE)^-
    power about its level's mean, in shares of it. paired: that of a network's value over its
    limit's on the same data. tested: the test set's part, the same for all seeds of a level.
    exponent: what was measured, NaN where the pilots' curves bend too much for one. beyond: half of
    what the audit's spectrum leaves open of the exponent at large N (N up to 131,072, 23 laws in
    d = 1 to 8: up to 0.02 for errors, 0.02 to 0.07 for times); 0 where it says nothing."""

    scatter: Triple
    power: Triple
    paired: float = 0.0
    tested: float = 0.0
    exponent: Triple = (math.nan, math.nan, math.nan)
    beyond: float = 0.0

    def at(self, samples: Array, dimension: int) -> Array:
        """The scatter at samples [L] in dimension d."""
        sigma = math.exp(_between(dimension, np.log(self.scatter)))
        return np.asarray(sigma * (samples / MIDDLE) ** -_between(dimension, self.power))

    def exponent_at(self, dimension: int) -> float:
        """The exponent that pilots had, NaN beyond their d."""
        inside = DIMENSIONS[0] <= dimension <= DIMENSIONS[-1]
        return _between(dimension, self.exponent) if inside else math.nan


def _between(dimension: int, values: Triple | Array) -> float:
    """Linear in log d, and constant beyond the pilots' d."""
    return float(np.interp(math.log(dimension), np.log(DIMENSIONS), values))


_ERROR: tuple[Triple, Triple] = ((0.36, 0.20, 0.084), (0.15, 0.16, 0.17))
_TIME: tuple[Triple, Triple] = ((0.40, 0.24, 0.15), (0.42, 0.58, 0.57))
_RATE: Triple = (0.70, 0.64, 0.48)
_FLAT: Triple = (0.0, 0.0, 0.0)

PILOTS: Mapping[Quantity, Pilot] = MappingProxyType(
    {
        Quantity.BEST_ERROR: Pilot(*_ERROR, 0.03, 0.010, _RATE, beyond=0.01),
        Quantity.BEST_ERROR_UNWEIGHTED: Pilot(
            (0.40, 0.19, 0.094), (0.20, 0.26, 0.22), 0.05, 0.017, (0.65, 0.59, 0.48)
        ),
        Quantity.BEST_TIME: Pilot(*_TIME, 0.08, 0.018, beyond=0.05),
        Quantity.FINAL_ERROR: Pilot((0.17, 0.11, 0.076), (0.13, 0.22, 0.29), 0.0, 0.010),
        Quantity.INTERPOLATION_ERROR: Pilot(
            (0.092, 0.081, 0.070), (0.41, 0.42, 0.35), exponent=(0.03, 0.10, 0.21)
        ),
        Quantity.KERNEL_BEST_ERROR: Pilot(*_ERROR, exponent=_RATE),
        Quantity.KERNEL_BEST_TIME: Pilot(*_TIME),
        # what a seed's curve over m or eta has beside what the seed does to all of it
        Quantity.COUPLING_AT_TIME: Pilot((0.17, 0.17, 0.17), _FLAT),
        Quantity.ERROR_AT_TIME: Pilot((5e-4, 5e-4, 5e-4), _FLAT),
    }
)

FITTED = (32, 128, 256)
"""The largest N, at the pilots' d, whose noise an effective time of FITTED_AT fits."""
FITTED_AT = 1e4

_BEST_TIME: tuple[Triple, Triple] = ((230.0, 220.0, 280.0), (0.47, 0.42, 0.52))


def noise_is_fitted(samples: float, dimension: int, time: float) -> bool:
    """Whether an effective time fits the noise of N samples, as far as pilots know; beyond their
    times it is not ruled out."""
    largest = math.exp(_between(dimension, np.log(FITTED)))
    return time > FITTED_AT or samples <= largest * (1 + 1e-9)


def best_time(samples: float, dimension: int) -> float:
    """The best effective time that pilots had at N samples: by their larger N, about N^0.45."""
    time, power = (_between(dimension, values) for values in _BEST_TIME)
    return time * math.pow(samples / MIDDLE, power)
