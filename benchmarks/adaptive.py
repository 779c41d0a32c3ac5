"""What an adaptive design costs beside the uniform grid, and whether its intervals stay honest.

Run alone: `python benchmarks/adaptive.py` simulates; `--pool DIR...` replays real trials.

Both designs go on until the 95 % interval of b in y ~ N^-b, that of `fit_power_law`, has half the
target's width: the uniform grid adds a seed at every N, the adaptive design its rounds. A trial's
cost is that of the cost model for a network of width WIDTH under STEPS steps in two dimensions,
with its kernel reference: the quickstart's. Noise is lognormal of mean 1, of even, falling or
rising size, or of the quickstart's; b = 0.6 is planted.

A pool is one or more results directories of one curve with many seeds at every N. Each repetition
shuffles the seeds of every N, and both designs take trials in that order, so the repetitions share
trials: their spread says what chance does to the ratio, and is no interval for it. A pool that runs
out is counted (`short`), not replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import load_results
from analysis.data.curves.quantities import curves
from analysis.fits.half_width import Design, next_round, pilot_counts
from analysis.levels.intervals import summarise
from study.choosing.adaptive import families, prices
from study.spec.sections import StudySpec

Array = NDArray[np.float64]

LEVELS = 2.0 ** np.arange(6, 13)
EXPONENT = 0.6
STEPS, WIDTH = 1000, 2048
POOL = 1500
"""Simulated trials at each N, more than any design here takes."""

NOISE: dict[str, Array] = {
    # Measured with 240 seeds up to N = 256 and 40 beyond, at width 1024.
    "the quickstart's": np.array([0.24, 0.25, 0.27, 0.23, 0.19, 0.155, 0.12]),
    "even, 0.2": np.full(7, 0.2),
    "falling, 0.25 to 0.14": np.linspace(0.25, 0.14, 7),
    "rising, 0.14 to 0.25": np.linspace(0.14, 0.25, 7),
}


@dataclass(frozen=True)
class End:
    """How a design ended: seeds by N, the interval, what it cost; None where the pool ran out."""

    counts: NDArray[np.int64]
    low: float
    high: float
    cost: float


Take = Callable[[NDArray[np.int64]], tuple[Array, Array]]


def taker(levels: Array, pool: Sequence[Array]) -> Take:
    """counts [L] -> x, y: the first trials of every level. Raises IndexError past its end."""

    def take(counts: NDArray[np.int64]) -> tuple[Array, Array]:
        if any(n > len(own) for n, own in zip(counts, pool, strict=True)):
            raise IndexError("the pool has no more trials")
        first = [y[:n] for y, n in zip(pool, counts, strict=True)]
        return np.repeat(levels, counts), np.concatenate(first)

    return take


def interval(x: Array, y: Array) -> tuple[float, float]:
    """That of `fit_power_law`, without its diagnostics."""
    means = summarise(x, y)
    return means.contrast(-means.polynomial(1)[1]).interval(0.95)


def uniform(levels: Array, costs: Array, take: Take, target: float, least: int = 3) -> End | None:
    """A seed more at every N until the interval is short."""
    counts = np.full(len(levels), least)
    try:
        while True:
            low, high = interval(*take(counts))
            if (high - low) / 2 <= target:
                return End(counts, low, high, float(counts @ costs))
            counts = counts + 1
    except IndexError:
        return None


def adaptive(levels: Array, costs: Array, take: Take, target: float) -> End | None:
    """The pilot, and rounds."""
    counts = pilot_counts(costs)
    try:
        while True:
            x, y = take(counts)
            found = next_round([Design.of(levels, costs, x, y)], [target])
            if found.reached:
                low, high = interval(x, y)
                return End(counts, low, high, float(counts @ costs))
            counts = counts + found.more
    except IndexError:
        return None


def costs_of(levels: Array, kernel: bool, width: int) -> Array:
    """The cost model's price of a trial at every N."""
    spec = StudySpec.from_mapping(
        {
            "name": "costs",
            "law": {"kind": "gaussian_mixture", "dimension": 2, "components": 8, "std": 0.1},
            "steps": STEPS,
            "kernel": kernel,
            "base": {"samples": [int(n) for n in levels], "width": width, "step_size": 2.0},
        }
    )
    (points,) = families(spec.points())
    return prices(points)


def simulated(size: Array, repetitions: int, seed: int) -> list[Take]:
    """Pools of lognormal noise of mean 1."""
    rng = np.random.default_rng(seed)
    takes = []
    for _ in range(repetitions):
        z = rng.standard_normal((len(LEVELS), POOL))
        noise = np.exp(size[:, None] * z - size[:, None] ** 2 / 2)
        takes.append(taker(LEVELS, list(LEVELS[:, None] ** -EXPONENT * noise)))
    return takes


def shuffled(frame: pd.DataFrame, repetitions: int, seed: int) -> tuple[Array, list[Take], float]:
    """The levels of the best score error in a results table, its pool in many orders, and the
    exponent of the whole pool."""
    (curve,) = [
        c for c in curves(frame) if c.quantity == "best_score_error" and c.axis == "samples"
    ]
    if curve.censored.any():
        raise SystemExit("the pool has trials without a best step: train with more steps")
    levels = np.unique(curve.x)
    rng = np.random.default_rng(seed)
    takes = [
        taker(levels, [rng.permutation(curve.y[curve.x == level]) for level in levels])
        for _ in range(repetitions)
    ]
    return levels, takes, sum(interval(curve.x, curve.y)) / 2


def compare(
    levels: Array,
    costs: Array,
    takes: Sequence[Take],
    target: float,
    name: str,
    exponent: float = EXPONENT,
) -> None:
    """Prints a row."""
    pairs = [
        (uniform(levels, costs, take, target), adaptive(levels, costs, take, target))
        for take in takes
    ]
    both = [(u, a) for u, a in pairs if u is not None and a is not None]
    ratio = np.array([a.cost / u.cost for u, a in both])
    share = np.quantile(ratio, [0.1, 0.5, 0.9]) if len(ratio) else np.full(3, np.nan)
    total = sum(a.cost for _, a in both) / max(sum(u.cost for u, _ in both), 1e-300)
    covers = [
        np.mean([e.low <= exponent <= e.high for e in side]) for side in zip(*both, strict=True)
    ]
    seeds = np.median([u.counts[0] for u, _ in both]) if both else np.nan
    counts: list[int] = []
    if both:
        counts = np.median([a.counts for _, a in both], axis=0).astype(int).tolist()
    print(
        f"{name:24} {target:6.3f} {seeds:6.0f} {total:7.2f} {share[1]:7.2f} "
        f"{share[0]:5.2f}-{share[2]:4.2f} {covers[0]:8.3f} {covers[1]:8.3f} "
        f"{len(pairs) - len(both):6d}  {' '.join(map(str, counts))}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--target", type=float, nargs="+", default=[0.03, 0.025, 0.02])
    parser.add_argument("--pool", nargs="+", help="results directories of one curve")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(
        "noise                    target  seeds   cost*  median   10-90 %  coverage, uniform and "
        "adaptive; short; median seeds by N\n(* of the adaptive design over the uniform grid's, "
        "all repetitions together; of a pool, coverage of its own exponent)"
    )
    for target in given.target:
        if given.pool:
            frame = pd.concat([load_results(path) for path in given.pool], ignore_index=True)
            levels, takes, exponent = shuffled(frame, given.repetitions, given.seed)
            costs = costs_of(levels, True, given.width)
            compare(levels, costs, takes, target, f"pool, b = {exponent:.3f}", exponent)
            continue
        costs = costs_of(LEVELS, True, given.width)
        for name, size in NOISE.items():
            takes = simulated(size, given.repetitions, given.seed)
            compare(LEVELS, costs, takes, target, name)


if __name__ == "__main__":
    main()
