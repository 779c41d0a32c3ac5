"""Do intervals hold where seeds stand at some levels only, and is good data refused?

Run alone: `python benchmarks/designs.py --repetitions 400`; docs/coverage.txt has its tables, with
fewer repetitions in some rows (`times`), and of the surfaces one, with ratio 1.

Designs. Curves y = x^-1/2 noise at eight levels x = 64 .. 8192; a seed shifts (and tilts) its own
curve. `20,20,10,...` are the numbers of nested seeds at the levels: seeds 0 .. n - 1. `coverage` is
that of 95 % intervals, `before` that of the rule for complete designs, per-seed slopes with S - 1
degrees of freedom; `length` is the median length over the shortest that a known variance allows,
2 x 1.96 standard deviations of the exponents simulated.

Surfaces y = N^-1/2 + 10/m as in coverage.py, with other numbers of training sets in other cells; an
eighth of the repetitions.

Refusals. Curves x^-b noise with one value a level, in percent: `by size` are those that a large
departure alone would refuse, `refused` those that a departure beyond the scatter does. A second
descent, a bump of e^2.5 in a curve that falls by e^2, is to be refused (an eighth of the
repetitions).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from analysis.fits import diagnostics
from analysis.fits.joint import fit_joint
from analysis.levels.intervals import student, summarise

Array = NDArray[np.float64]
Cells = NDArray[np.bool_]

LEVELS = np.geomspace(64.0, 8192.0, 8)
U = np.log(LEVELS) - np.log(LEVELS).mean()


def nested(*numbers: int) -> Cells:
    """[S, L]: seeds 0 .. n - 1 at each level."""
    return np.arange(max(numbers))[:, None] < np.array(numbers)


def alone(shared: int, extra: int) -> Cells:
    """Seeds at every level, and others at one level each."""
    return np.vstack([np.ones((shared, 8), bool), np.repeat(np.eye(8, dtype=bool), extra, axis=0)])


def lost(seeds: int, share: float, number: int) -> Cells:
    """A complete design that lost a share of its trials, two seeds a level at least left."""
    rng = np.random.default_rng(number)
    while (cells := rng.random((seeds, 8)) >= share).sum(axis=0).min() < 2:
        pass
    return cells[cells.any(axis=1)]


def one_lost() -> Cells:
    cells = nested(*[8] * 8)
    cells[7, 3] = False
    return cells


def chain(each: int) -> Cells:
    """Seeds at two neighbouring levels each; at the ends, at one."""
    pairs = np.eye(9, 8, dtype=bool) | np.eye(9, 8, k=-1, dtype=bool)
    return np.repeat(pairs, each, axis=0)


def bridge() -> Cells:
    """Five seeds at the lower five levels, five at the upper three, which join them at two."""
    seed, level = np.arange(9)[:, None], np.arange(8)
    return (
        ((seed < 5) & (level < 5)) | ((seed >= 4) & (level >= 5)) | (level // 2 == 2) & (seed > 3)
    )


DESIGNS = {
    "10 seeds at every level": nested(*[10] * 8),
    "8 seeds, one trial lost": one_lost(),
    "20,20,10,10,5,5,3,3": nested(20, 20, 10, 10, 5, 5, 3, 3),
    "50,50,2,2,2,2,2,2": nested(50, 50, 2, 2, 2, 2, 2, 2),
    "2,2,2,2,2,2,2,20": nested(2, 2, 2, 2, 2, 2, 2, 20),
    "2 everywhere, 8 alone": alone(2, 8),
    "2 everywhere, 3 alone": alone(2, 3),
    "5 everywhere, 5 alone": alone(5, 5),
    "3,3,5,5,10,10,20,20": nested(3, 3, 5, 5, 10, 10, 20, 20),
    "12,12,10,8,6,5,5,5": nested(12, 12, 10, 8, 6, 5, 5, 5),
    "40,3,3,3,3,3,3,3": nested(40, 3, 3, 3, 3, 3, 3, 3),
    "10,10,10,2,10,10,10,10": nested(10, 10, 10, 2, 10, 10, 10, 10),
    "10 seeds, 30 % lost": lost(10, 0.3, 1),
    "12 seeds, 50 % lost": lost(12, 0.5, 2),
    "two halves, joined": bridge(),
    "neighbours share 3": chain(3),
}
NOISES = {
    "shift 0.3, own 0.1": (0.3, 0.0, 0.1, 0.0),
    "the same, tilt 0.05": (0.3, 0.05, 0.1, 0.0),
    "shift 0.3, own 0.3": (0.3, 0.0, 0.3, 0.0),
    "0.4, 0.3, falling": (0.4, 0.0, 0.3, 0.25),
    "falling, tilt 0.05": (0.4, 0.05, 0.3, 0.25),
}
"""Shift, tilt and own noise of log y, and the power of x by which shift and own noise fall."""


def drawn(
    rng: np.random.Generator, cells: Cells, noise: tuple[float, float, float, float]
) -> tuple[Array, Array, NDArray[np.int64]]:
    """x, y, seed: a value a cell, its noise of mean 1."""
    shift, tilt, own, power = noise
    who, where = np.nonzero(cells)
    scale = (LEVELS / LEVELS[0])[where] ** -power
    z = shift * rng.standard_normal(len(cells))[who] + own * rng.standard_normal(len(who))
    z = scale * z + tilt * rng.standard_normal(len(cells))[who] * U[where]
    half = (scale**2 * (shift**2 + own**2) + tilt**2 * U[where] ** 2) / 2
    return LEVELS[where], LEVELS[where] ** -0.5 * np.exp(z - half), who


def design_row(
    cells: Cells, noise: tuple[float, float, float, float], repetitions: int
) -> tuple[float, float, float]:
    """Coverage, coverage by the rule for complete designs, and length."""
    found = np.empty((repetitions, 3))
    for repetition in range(repetitions):
        x, y, seed = drawn(np.random.default_rng([1, repetition]), cells, noise)
        means = summarise(x, y, seed)
        slope = -means.polynomial(1)[1]
        fit = means.contrast(slope)
        low, high = fit.interval(0.95)
        assert means.clusters is not None
        each, size = means.clusters.scores @ slope, means.seeds
        before = np.sqrt(each @ each * size / (size - 1)) * student(0.95, size - 1)
        found[repetition] = fit.estimate - 0.5, (high - low) / 2, before
    off, half, before = np.abs(found).T
    length = float(np.median(half)) / (1.96 * float(found[:, 0].std()))
    return float(np.mean(off <= half)), float(np.mean(off <= before)), length


# --- surfaces -----------------------------------------------------------------------------------

CROSS = tuple((2.0**i, 2048.0) for i in range(6, 13)) + tuple(
    (512.0, 2.0**i) for i in range(6, 14) if i != 11
)
GRID = tuple((4.0**i, 4.0**j) for i in range(3, 7) for j in range(3, 7))


def surface_rows() -> Iterator[tuple[str, tuple[tuple[float, float], ...], list[int]]]:
    """Name, cells, and numbers of training sets in each."""
    for name, cells in (("cross", CROSS), ("grid", GRID)):
        size = len(cells)
        yield f"{name}, 5", cells, [5] * size
        yield f"{name}, 12 falling to 3", cells, np.linspace(12, 3, size).astype(int).tolist()
        yield f"{name}, 20 and 5 in turn", cells, [5 + 15 * (i % 2) for i in range(size)]


def surface_coverage(
    cells: tuple[tuple[float, float], ...], numbers: list[int], repetitions: int
) -> float:
    """Of the rate at infinite width; effects of a training set 0.1, own noise 0.03, ratio 10."""
    at = np.repeat(np.array(cells), numbers, axis=0)
    seed = np.concatenate([np.arange(n) for n in numbers])
    sizes, place = np.unique(at[:, 0], return_inverse=True)
    data = seed * len(sizes) + place
    held = 0
    for repetition in range(repetitions):
        rng = np.random.default_rng([2, repetition])
        z = 0.1 * rng.standard_normal(data.max() + 1)[data] + 0.03 * rng.standard_normal(len(at))
        y = (at[:, 0] ** -0.5 + 10 / at[:, 1]) * np.exp(z)
        fit = fit_joint(y, {"samples": at[:, 0], "width": at[:, 1]}, cluster=data)
        low, high = fit.intervals.get((0, "samples"), (np.nan, np.nan))
        held += low <= 0.5 <= high
    return held / repetitions


# --- refusals -----------------------------------------------------------------------------------

POINTS = (4, 6, 8, 12, 20, 50, 100, 250)
SIGMAS = (0.02, 0.1, 0.15, 0.3)


def refusal_row(points: int, sigma: float, b: float, bump: float, repetitions: int) -> list[float]:
    """Shares refused by size alone, and refused."""
    u = np.linspace(0, 1, points)
    mean = -b * 4 * u + bump * np.exp(-(((u - 0.5) / 0.2) ** 2))
    told = np.zeros(2)
    for repetition in range(repetitions):
        rng = np.random.default_rng([3, repetition])
        y = np.exp(mean + sigma * rng.standard_normal(points))
        means = summarise(np.exp(5 + 4 * u), y)
        with patch.object(diagnostics, "_by_chance", lambda *_: False):
            told[0] += bool(diagnostics.refusal(means))
        told[1] += bool(diagnostics.refusal(means))
    return (told / repetitions).tolist()


HEADERS = (
    f"{'seeds at the levels':24} {'noise':20} times coverage before length",
    f"\n{'curve':14} points noise times  by size refused",
    f"\n{'surface, training sets':24} times coverage",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repetitions", type=int, default=400)
    repetitions = parser.parse_args().repetitions
    print(HEADERS[0])
    for design, cells in DESIGNS.items():
        for name, noise in NOISES.items():
            held, before, length = design_row(cells, noise, repetitions)
            print(
                f"{design:24} {name:20} {repetitions:5} {held:8.1%} {before:6.1%} {length:6.2f}",
                flush=True,
            )
    print(HEADERS[1])
    for name, b, bump in (("x^-0.3", 0.3, 0.0), ("level", 0.0, 0.0), ("second descent", 0.5, 2.5)):
        for points in POINTS:
            for sigma in SIGMAS:
                times = repetitions // 8 if bump else repetitions
                sizes, refused = refusal_row(points, sigma, b, bump, times)
                print(
                    f"{name:14} {points:6} {sigma:5} {times:5} {sizes:8.1%} {refused:7.1%}",
                    flush=True,
                )
    print(HEADERS[2])
    for name, at, numbers in surface_rows():
        times = repetitions // 8
        print(f"{name:24} {times:5} {surface_coverage(at, numbers, times):8.1%}", flush=True)


if __name__ == "__main__":
    main()
