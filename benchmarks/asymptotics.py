"""How often verdicts on curves that may bend are right, undetermined and wrong: an ensemble.

Run alone: `python benchmarks/asymptotics.py --repetitions 200`. Every repetition has its own fixed
seed, so the table is reproducible; docs/asymptotics.txt has it.

The ensemble. y = x^-1/2 e^s(x), x = 64, 128, ... (5, 7 or 10 levels; 14 levels half as far apart),
lognormal noise, and s one of

- pure: 0;
- correction: log(1 + k (x/64)^-q), k = -1/2, 0.3, 1, 3 and q = 1/4, 1/2, 1;
- outside: what no correction that dies out describes: an offset of 0.1 or 0.5 of the last value,
  slow logarithms (log x)^(+-1), and waves k sin(2 pi q log_2 x + phase) of 4 octaves, k = 0.05 and
  0.15, the phase new in every repetition (local exponents of 0.42 to 0.58, and 0.26 to 0.74).

The truth is the limit of the exponent, 1/2, but 0 with an offset. Six predictions are put to each
curve: the bounds b, b - 0.1, b + 0.1 and the sharp b, b/1.3, b/0.7 with b = 1/2. Wrong is what
contradicts the truth: `faster` and `violates` where the bound is the truth, `violates` of a bound
below it, `faster` and `consistent` of one above it, `agrees` of a sharp one that it is not, and
`disagrees` of the one that it is. `consistent` with a bound below the truth is not wrong, but not
counted as right either.

Allowed. A rule that decides a pure curve at a distance of 0.1 rightly in 85 % of cases, decides
the curve with a correction in the same way in 85 % - TV of cases or more, TV the total variation
between the two: 2 Phi(delta/2) - 1, with delta the length of s perpendicular to straight lines in
standard errors of a level mean. So a row is allowed max(10 %, 85 % - TV) wrong verdicts on one
prediction; where that is more than 10 % nobody can have both.

`before` is the rule that asked windows of local slopes, and a quadratic's end, to agree.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.fits.power_law import fit_power_law
from analysis.theory import MARGIN, Kind, Prediction
from analysis.verdicts.judging import judge
from analysis.verdicts.rules import Word

Array = NDArray[np.float64]

EXPONENT = 0.5
LEVELS = (5, 7, 10, 14)
NOISE = ((0.02, 200), (0.03, 8), (0.1, 5), (0.2, 8), (0.3, 20))
"""Noise of one value, and seeds."""


@dataclass(frozen=True)
class Shape:
    """s(x), and the exponent at large x."""

    kind: str
    k: float = 0.0
    q: float = 0.0

    @property
    def truth(self) -> float:
        return 0.0 if self.kind == "offset" else EXPONENT

    def of(self, x: Array, phase: float = 0.0) -> Array:
        """s at x [L]."""
        if self.kind == "wave":
            return np.asarray(self.k * np.sin(2 * np.pi * self.q * np.log2(x) + phase))
        if self.kind == "correction":
            return np.asarray(np.log1p(self.k * (x / 64) ** -self.q))
        if self.kind == "offset":
            return np.asarray(np.log1p(self.k * (x / x[-1]) ** EXPONENT))
        if self.kind == "logarithm":
            return np.asarray(self.k * np.log(np.log(x)))
        return np.zeros(len(x))


SHAPES = (
    Shape("pure"),
    *(Shape("correction", k, q) for q in (0.25, 0.5, 1.0) for k in (-0.5, 0.3, 1.0, 3.0)),
    *(Shape("offset", k) for k in (0.1, 0.5)),
    *(Shape("logarithm", k) for k in (-1.0, 1.0)),
    *(Shape("wave", k, 0.25) for k in (0.05, 0.15)),
)


OUTSIDE = ("offset", "logarithm", "wave")


def prediction(kind: Kind, exponent: float) -> Prediction:
    return Prediction("planted", "error", "samples", exponent, kind, MARGIN, "planted", "")


ASKED = (
    *(prediction(Kind.BOUND, b) for b in (EXPONENT, EXPONENT - 0.1, EXPONENT + 0.1)),
    *(prediction(Kind.SHARP, b) for b in (EXPONENT, EXPONENT / 1.3, EXPONENT / 0.7)),
)


def right_and_wrong(asked: Prediction, truth: float) -> tuple[set[Word], set[Word]]:
    """The words that are right and wrong of a curve whose exponent at large x is `truth`."""
    away = truth - asked.exponent
    near = abs(away) <= asked.margin * abs(asked.exponent) + 1e-12
    if asked.kind is Kind.SHARP:
        both = [{Word.AGREES}, {Word.DISAGREES}]
        return (both[0], both[1]) if near else (both[1], both[0])
    if abs(away) < 1e-12:
        return {Word.CONSISTENT}, {Word.FASTER, Word.VIOLATES}
    if away > 0:
        return {Word.FASTER}, {Word.VIOLATES}
    return {Word.VIOLATES}, {Word.FASTER} if near else {Word.FASTER, Word.CONSISTENT}


@dataclass(frozen=True)
class Row:
    """Shares of verdicts over all predictions, and the largest wrong share on one of them.
    decided: right ones among predictions 0.1 or more from the truth. covered: intervals at large x
    that hold the truth."""

    levels: int
    shape: Shape
    sigma: float
    seeds: int
    right: float
    wrong: float
    decided: float
    worst: float
    allowed: float
    covered: float
    before_right: float
    before_wrong: float
    before_decided: float
    repetitions: int

    @property
    def met(self) -> bool:
        """The largest wrong share is allowed, give or take two standard errors."""
        slack = 2 * math.sqrt(self.allowed * (1 - self.allowed) / self.repetitions)
        return self.worst <= self.allowed + slack


def row(levels: int, shape: Shape, sigma: float, seeds: int, repetitions: int) -> Row:
    """Simulate one curve of the ensemble."""
    spacing = 0.5 if levels == 14 else 1.0
    x = 64 * 2.0 ** (spacing * np.arange(levels))
    size = math.sqrt(math.log1p(sigma**2))
    now, before = np.zeros((2, len(ASKED))), np.zeros((2, len(ASKED)))
    covered = 0
    for repetition in range(repetitions):
        rng = np.random.default_rng([levels, seeds, repetition])
        phase = 2 * np.pi * ((repetition * 0.618) % 1)
        mean = x**-EXPONENT * np.exp(shape.of(x, phase))
        y = mean * np.exp(size * rng.standard_normal((seeds, levels)) - size**2 / 2)
        fit = fit_power_law(np.tile(x, seeds), y.ravel())
        low, high = fit.interval_at_large(fit.level)
        covered += low <= shape.truth <= high
        for counts in (now, before):
            for i, asked in enumerate(ASKED):
                word = judge(asked, fit).verdict
                for j, words in enumerate(right_and_wrong(asked, shape.truth)):
                    counts[j, i] += word in words
            fit.__dict__["asymptotic"] = None  # as if none could be had: the rule before
    now, before = now / repetitions, before / repetitions
    far = [i for i, asked in enumerate(ASKED) if abs(asked.exponent - shape.truth) > 0.0999]
    return Row(
        levels, shape, sigma, seeds,
        float(now[0].mean()), float(now[1].mean()), float(now[0, far].mean()),
        float(now[1].max()), allowed(x, shape, size / math.sqrt(seeds)), covered / repetitions,
        float(before[0].mean()), float(before[1].mean()), float(before[0, far].mean()),
        repetitions,
    )  # fmt: skip


def allowed(x: Array, shape: Shape, error: float) -> float:
    """The wrong share on one prediction that the module's bound allows."""
    if shape.kind == "pure":
        return 0.1
    lines = np.vander(np.log(x), 2)
    s = shape.of(x)
    delta = float(np.linalg.norm(s - lines @ np.linalg.lstsq(lines, s)[0])) / error
    return max(0.1, 0.85 - (2 * float(stats.norm.cdf(delta / 2)) - 1))


def rows(repetitions: int) -> Iterator[Row]:
    for levels in LEVELS:
        for sigma, seeds in NOISE:
            for shape in SHAPES:
                yield row(levels, shape, sigma, seeds, repetitions)


HEADER = (
    "levels curve          k    q sigma seeds  right wrong decided  worst allowed     covered | "
    "before: right wrong decided"
)


def line(r: Row) -> str:
    verdict = "outside" if r.shape.kind in OUTSIDE else "met"
    if not r.met and verdict == "met":
        verdict = "NOT MET"
    return (
        f"{r.levels:6d} {r.shape.kind:10s} {r.shape.k:5.2f} {r.shape.q:4.2f} {r.sigma:5.2f} "
        f"{r.seeds:5d} {r.right:6.1%} {r.wrong:5.1%} {r.decided:7.1%} {r.worst:6.1%} "
        f"{r.allowed:6.1%} {verdict:7s} {r.covered:5.1%} | {r.before_right:13.1%} "
        f"{r.before_wrong:5.1%} {r.before_decided:7.1%}"
    )


def summary(found: list[Row], name: str) -> str:
    def mean(key: str) -> str:
        return f"{float(np.mean([getattr(r, key) for r in found])):.1%}"

    return (
        f"{name} ({len(found)} rows): right {mean('right')}, wrong {mean('wrong')}, "
        f"decided {mean('decided')}; before: {mean('before_right')}, {mean('before_wrong')}, "
        f"{mean('before_decided')}"
    )


def tabulated(
    told: str | None,
    repetitions: int,
    head: str,
    rows: Callable[[int], Iterator[Any]],
    line: Callable[[Any], str],
) -> list[Any]:
    """The rows, each printed once it is simulated, and written as JSON where that is asked for.
    told: what --help says. repetitions: by default. rows: of so many repetitions."""
    parser = argparse.ArgumentParser(description=told)
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    print(head)
    found = []
    for made in rows(chosen.repetitions):
        found.append(made)
        print(line(made), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(r) for r in found], indent=1))
    print()
    return found


def main() -> None:
    found = tabulated(__doc__, 200, HEADER, rows, line)
    inside = [r for r in found if r.shape.kind in ("pure", "correction")]
    print(summary([r for r in found if r.shape.kind == "pure"], "pure"))
    print(summary([r for r in inside if r.shape.kind == "correction"], "correction"))
    print(summary([r for r in inside if r.allowed <= 0.1], "decidable"))
    print(summary([r for r in found if r not in inside], "outside"))
    print(summary(found, "all"))
    print(f"within what is allowed: {sum(r.met for r in inside)} of {len(inside)} rows")


if __name__ == "__main__":
    main()
