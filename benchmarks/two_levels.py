"""How often intervals from network and kernel seeds together hold the exponent, and their length.

Run alone: `python benchmarks/two_levels.py --repetitions 1000 --json two_levels.json`. Every
repetition has its own fixed seed, so the table, which docs/two_levels.txt holds, is reproducible.

Curves y = x^-1/2 noise at eight levels x = 64 .. 8192, M seeds of the network; z, the kernel's, on
those seeds and on others, K in all (analysis/levels/two_levels.py). Both noises are lognormal or
chi-square, with the correlation rho of the normal variables beneath. Nominal level 95 %; the
target is 93 to 97 %. `alone` is the coverage of the network's seeds alone, `length` the median
length of the interval over theirs; at rho = 0 and 0.5 the target is also a length of at most 1.01.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.levels.intervals import summarise
from analysis.levels.two_levels import Control

Array = NDArray[np.float64]
Noise = Callable[[Array], Array]
"""From normal variables [seeds, L] to noise of a constant mean at each level."""

EXPONENT = 0.5
LEVELS = np.geomspace(64.0, 8192.0, 8)
NETWORKS = (3, 5, 8, 20)
KERNELS = (4, 16, 64, 400)
CORRELATIONS = (0.0, 0.5, 0.9, 0.98, 0.999)
LOW, HIGH, LONGEST = 0.93, 0.97, 1.01


def lognormal(size: float, power: float = 0.0) -> Noise:
    """Log standard deviation size (x/x_min)^-power, mean 1."""
    s = size * (LEVELS / LEVELS[0]) ** -power
    return lambda normal: np.exp(s * normal - s**2 / 2)


def chi_square(freedom: int) -> Noise:
    """chi^2 over its degrees of freedom, by the normal variable's quantile."""
    return lambda normal: np.asarray(stats.chi2.ppf(stats.norm.cdf(normal), freedom) / freedom)


@dataclass(frozen=True)
class Scenario:
    """parting: the correlation falls from 0.999 at the first level to rho at the last, as the
    network parts from its kernel."""

    name: str
    noise: Noise
    parting: bool = False


SCENARIOS = (
    Scenario("lognormal 0.3", lognormal(0.3)),
    Scenario("lognormal 0.1", lognormal(0.1)),
    Scenario("0.4, falls as x^-1/4", lognormal(0.4, 0.25)),
    Scenario("chi-square, 10 degrees", chi_square(10)),
    Scenario("0.4 falling, rho too", lognormal(0.4, 0.25), parting=True),
)


@dataclass(frozen=True)
class Row:
    """What one design gave."""

    scenario: str
    networks: int
    kernels: int
    correlation: float
    repetitions: int
    coverage: float
    alone: float
    length: float

    @property
    def met(self) -> bool:
        """Within the target, give or take two standard errors of a simulation this long."""
        slack = 2 * float(np.sqrt(0.95 * 0.05 / self.repetitions))
        covers = LOW - slack <= self.coverage <= HIGH + slack
        return covers and (self.correlation > 0.5 or self.length <= LONGEST)


def simulate(scenario: Scenario, networks: int, kernels: int, rho: float, repetitions: int) -> Row:
    """Intervals of the exponent from both, and from the network's seeds alone."""
    size = len(LEVELS)
    tied = np.linspace(0.999, rho, size) if scenario.parting else np.full(size, rho)
    signal = LEVELS**-EXPONENT
    at, many = np.tile(LEVELS, networks), np.tile(LEVELS, kernels)
    seed, every = (np.repeat(np.arange(n), size) for n in (networks, kernels))
    ends = np.empty((2, repetitions, 2))
    for repetition in range(repetitions):
        rng = np.random.default_rng([networks, kernels, repetition])
        cheap = rng.standard_normal((kernels, size))
        own = tied * cheap[:networks] + np.sqrt(1 - tied**2) * rng.standard_normal((networks, size))
        y, z = signal * scenario.noise(own), signal * scenario.noise(cheap)
        control = Control(seed, many, z.ravel(), every)
        means = summarise(at, y.ravel(), control=control)
        for which, known in enumerate((means, means.alone or means)):
            ends[which, repetition] = known.contrast(-known.polynomial(1)[1]).interval(0.95)
    held = ((ends[..., 0] <= EXPONENT) & (ends[..., 1] >= EXPONENT)).mean(axis=1)
    both, alone = np.median(ends[..., 1] - ends[..., 0], axis=1)
    return Row(
        scenario.name, networks, kernels, rho, repetitions, held[0], held[1], float(both / alone)
    )


def row(r: Row) -> str:
    """A line of the table."""
    return (
        f"{r.scenario:24} {r.networks:8} {r.kernels:7} {r.correlation:6} {r.coverage:8.1%} "
        f"{r.alone:8.1%} {r.length:7.2f}  {'met' if r.met else 'NOT MET'}"
    )


HEADER = f"{'two levels, at 95 %':24} networks kernels    rho coverage    alone  length  target"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers here")
    options = parser.parse_args()
    rows = []
    print(HEADER, flush=True)
    for scenario in SCENARIOS:
        for networks in NETWORKS:
            for kernels in (k for k in KERNELS if k > networks):
                for rho in CORRELATIONS:
                    rows.append(simulate(scenario, networks, kernels, rho, options.repetitions))
                    print(row(rows[-1]), flush=True)
    print(f"{sum(r.met for r in rows)} of {len(rows)} met")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1))


if __name__ == "__main__":
    main()
