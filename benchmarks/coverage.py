"""How often the intervals hold the planted exponent; asymptotics.py has the verdicts.

Run alone: `python benchmarks/coverage.py --repetitions 1000 --json coverage.json`. Every
repetition has its own fixed seed, so the table is reproducible.

Coverage. Curves y = x^-b f(x) noise at eight levels x = 64 .. 8192, b = 1/2, 3 to 20 seeds.
Nominal level 95 %. `target` is what a scenario has to reach; `missed` is the share of repetitions
without an interval (counted as not covering).

Surfaces y = N^-b + ratio/m are fitted jointly; covered is b, the rate at infinite width.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.fits.joint import fit_joint
from analysis.fits.power_law import fit_power_law

Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int, Array], Array]

EXPONENT = 0.5
LEVELS = np.geomspace(64.0, 8192.0, 8)
SEEDS = (3, 5, 10, 20)


def lognormal(size: float) -> Noise:
    """exp(size Z), the same at all levels; its mean is a constant factor."""

    def draw(rng: np.random.Generator, seeds: int, x: Array) -> Array:
        return np.asarray(np.exp(size * rng.standard_normal((seeds, len(x)))))

    return draw


def falling(size: float, power: float) -> Noise:
    """Lognormal noise of mean 1 and log standard deviation size (x/x_min)^-power."""

    def draw(rng: np.random.Generator, seeds: int, x: Array) -> Array:
        s = size * (x / x[0]) ** -power
        return np.asarray(np.exp(s * rng.standard_normal((seeds, len(x))) - s**2 / 2))

    return draw


def chi_square(freedom: int) -> Noise:
    """chi^2 over its degrees of freedom."""

    def draw(rng: np.random.Generator, seeds: int, x: Array) -> Array:
        return np.asarray(rng.chisquare(freedom, (seeds, len(x))) / freedom)

    return draw


def shared(offset: float, tilt: float, own: float, power: float = 0.0) -> Noise:
    """Each seed shifts (and tilts) its whole curve; the sizes fall as (x/x_min)^-power."""

    def draw(rng: np.random.Generator, seeds: int, x: Array) -> Array:
        u = np.log(x) - np.log(x).mean()
        scale = (x / x[0]) ** -power
        z = offset * rng.standard_normal((seeds, 1)) + own * rng.standard_normal((seeds, len(x)))
        half = scale**2 * (offset**2 + own**2) / 2
        z = scale * z - half + tilt * rng.standard_normal((seeds, 1)) * u
        return np.asarray(np.exp(z))

    return draw


@dataclass(frozen=True)
class Scenario:
    """A way to make curves; `floor` is c as a share of the last signal."""

    name: str
    noise: Noise
    low: float
    high: float
    floor: float = 0.0
    linked: bool = False


SCENARIOS = (
    Scenario("lognormal 0.3", lognormal(0.3), 0.93, 0.97),
    Scenario("lognormal 0.1", lognormal(0.1), 0.93, 0.97),
    Scenario("variance falls as x^-1/2", falling(0.5, 0.25), 0.92, 1.0),
    Scenario("variance falls as x^-1", falling(0.5, 0.5), 0.92, 1.0),
    Scenario("chi-square, 4 degrees", chi_square(4), 0.92, 1.0),
    Scenario("chi-square, 10 degrees", chi_square(10), 0.92, 1.0),
    Scenario("seeds shift the curve", shared(0.3, 0.0, 0.1), 0.93, 0.98, linked=True),
    Scenario("seeds tilt the curve", shared(0.3, 0.05, 0.1), 0.93, 0.98, linked=True),
    Scenario("the same, falling noise", shared(0.4, 0.0, 0.3, 0.25), 0.93, 0.98, linked=True),
    Scenario("floor 30 %, noise 0.1", lognormal(0.1), 0.92, 1.0, floor=0.3),
    Scenario("floor 30 %, noise 0.3", lognormal(0.3), 0.92, 1.0, floor=0.3),
    Scenario("floor 100 %, noise 0.1", lognormal(0.1), 0.92, 1.0, floor=1.0),
    Scenario("floor 100 %, noise 0.3", lognormal(0.3), 0.92, 1.0, floor=1.0),
)


@dataclass(frozen=True)
class Coverage:
    """What one scenario at one number of seeds gave."""

    scenario: str
    seeds: int
    repetitions: int
    coverage: float
    below: float
    above: float
    missed: float
    width: float
    low: float
    high: float

    @property
    def met(self) -> bool:
        """Within the target, give or take two standard errors of a simulation this long."""
        slack = 2 * math.sqrt(0.95 * 0.05 / self.repetitions)
        return self.low - slack <= self.coverage <= self.high + slack


def coverage(scenario: Scenario, seeds: int, repetitions: int) -> Coverage:
    """Simulate a scenario; `below`, `above`: share of intervals wholly below or above b."""
    signal = LEVELS**-EXPONENT
    x = np.tile(LEVELS, seeds)
    who = np.repeat(np.arange(seeds), len(LEVELS)) if scenario.linked else None
    ends = np.empty((repetitions, 2))
    for repetition in range(repetitions):
        rng = np.random.default_rng([seeds, repetition])
        y = (signal + scenario.floor * signal[-1]) * scenario.noise(rng, seeds, LEVELS)
        ends[repetition] = fit_power_law(x, y.ravel(), who, offset=scenario.floor > 0).ci
    return _covered(scenario.name, seeds, repetitions, ends, scenario.low, scenario.high)


def _covered(
    name: str, seeds: int, repetitions: int, ends: Array, least: float, most: float
) -> Coverage:
    """The shares of intervals `ends` [repetitions, 2] about EXPONENT."""
    low, high = ends.T
    return Coverage(
        name,
        seeds,
        repetitions,
        coverage=float(np.mean((low <= EXPONENT) & (high >= EXPONENT))),
        below=float(np.mean(high < EXPONENT)),
        above=float(np.mean(low > EXPONENT)),
        missed=float(np.mean(np.isnan(low))),
        width=float(np.nanmedian(high - low)),
        low=least,
        high=most,
    )


# --- surfaces -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class JointScenario:
    """y = N^-b + ratio/m in the cells (N, m), lognormal noise: `shared` by the widths that one
    training set meets, and each trial's `own`."""

    name: str
    cells: tuple[tuple[float, float], ...]
    ratio: float
    shared: float
    own: float


_CROSS = tuple((2.0**i, 2048.0) for i in range(6, 13)) + tuple(
    (512.0, 2.0**i) for i in range(6, 14) if i != 11
)
_GRID = tuple((4.0**i, 4.0**j) for i in range(3, 7) for j in range(3, 7))
SURFACES = (
    JointScenario("cross, N^-b + 1/m", _CROSS, 1.0, 0.1, 0.03),
    JointScenario("cross, N^-b + 10/m", _CROSS, 10.0, 0.1, 0.03),
    JointScenario("grid, N^-b + 10/m", _GRID, 10.0, 0.1, 0.03),
)


def joint_coverage(scenario: JointScenario, seeds: int, repetitions: int) -> Coverage:
    """Simulate the rate at infinite width."""
    cells = np.tile(np.array(scenario.cells), (seeds, 1))
    sizes, place = np.unique(cells[:, 0], return_inverse=True)
    seed = np.repeat(np.arange(seeds), len(scenario.cells))
    data = seed * len(sizes) + place
    mean = cells[:, 0] ** -EXPONENT + scenario.ratio / cells[:, 1]
    ends = np.full((repetitions, 2), np.nan)
    for repetition in range(repetitions):
        rng = np.random.default_rng([seeds, repetition])
        shared = scenario.shared * rng.standard_normal(seeds * len(sizes))
        own = scenario.own * rng.standard_normal(len(cells))
        y = mean * np.exp(shared[data] + own)
        fit = fit_joint(y, {"samples": cells[:, 0], "width": cells[:, 1]}, cluster=data)
        if fit.ok:
            ends[repetition] = fit.intervals[0, "samples"]
    return _covered(scenario.name, seeds, repetitions, ends, 0.92, 1.0)


def coverage_row(c: Coverage) -> str:
    """A line of the first table."""
    return (
        f"{c.scenario:26} {c.seeds:5} {c.coverage:8.1%} {c.below:6.1%} {c.above:6.1%} "
        f"{c.missed:6.1%} {c.width:7.3f}  {c.low:.0%}-{c.high:.0%} {'met' if c.met else 'NOT MET'}"
    )


HEADER = f"{'coverage at 95 %':26} seeds coverage  below  above missed   width  target"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--json", type=Path, default=None, help="also write the numbers here")
    options = parser.parse_args()
    covered: list[Coverage] = []
    print(HEADER, flush=True)
    for scenario in (*SCENARIOS, *SURFACES):
        for seeds in SEEDS:
            if isinstance(scenario, JointScenario):
                covered.append(joint_coverage(scenario, seeds, options.repetitions))
            else:
                covered.append(coverage(scenario, seeds, options.repetitions))
            print(coverage_row(covered[-1]), flush=True)
    if options.json:
        figures = {
            "repetitions": options.repetitions,
            "coverage": [asdict(c) | {"met": c.met} for c in covered],
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
