"""How often limits at large N hold the truth where the kernel's spectrum is known: an ensemble.

Run alone: `python benchmarks/continued.py --repetitions 100`. Every repetition has its own fixed
seed, so the table is reproducible; docs/continued.txt has it.

The truth. A curve P(N) is the least error, or its time, of `trainers.audit.learning_curve.Spectrum`
for a spectrum drawn at random. With D = d + 1 variables, degree l = 0, 1, ... of polynomials has
C(l + D - 1, D - 1) eigenvalues (l + 1)^-(D+1) e^(SPREAD z) and the energy of f*
(l + 1)^-(1 + D r) e^(ROUGH z), z standard normal, r uniform in RATES; the noise is 0.5 to 2 times
all energies together. Exponents are near r/(1 + r), and local ones rise and fall as those of the
quickstart do. What is measured is y = P e^s; s is one of

- exact: 0;
- design: what the sum leaves out, half of k (N/64)^-q, half of k/2 sin(pi u/R + phase), u = log N
  and R the range that was measured; k of up to DESIGN, up or down;
- width: log(1 + k (N/64)^q), k = 0.02 and q = 1/2: networks of one width, which the kernel leaves;
- fading: log(1 + k (N/64)^-q), k = 0.3 and q = 1/2: a correction that dies out;
- growing: the same of networks whose width grows with N, as their excess over their limit does;

and all but the first hold the design's part too; of `width` and `fading`, networks of one width, P
is not all that is expected to bend the curve. P is known as an audit knows it: REPLICATES
curves, each off by LEVEL_ERROR in level and SLOPE_ERROR in exponent, up to N = 2^16 or 2^17.

The data. Lognormal values, `seeds` at each of 6 or 7 levels from N = 64. `pooled`: 10 draws of a
law, each with a spectrum of its own (energies that differ by e^(DRAWS z)), P being known of 10 or
of 1 of them; the truth is the mean of 60 draws.

The exponent that is true is that of the straight line through log y at octaves from the largest N
that was measured to 2^17; `late` is the same over the last 1.2 decades. To each curve are put
bounds at the truth, 0.1 and 0.2 on both sides of it, and sharp predictions of the truth, and of it
over 1.3 and 0.7. What is right and wrong of each is said in benchmarks/asymptotics.py, and so is
what is `allowed`, here of the last three by the mean over repetitions; `worst` is the largest
wrong share on one prediction. Three rules are asked: the straight line alone, the rule that
knows nothing of P, and the rule that does; `used` is the share of curves in which it took P. Of
`width` nothing that was measured shows how far networks leave the kernel beyond, and no rule is
right: the row says what extrapolation costs there. A fit that is refused holds nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.data.audit import WINDOW, window_exponents
from analysis.fits.growth import Continuation
from analysis.fits.power_law import PowerLawFit, fit_power_law
from analysis.theory import Kind, Prediction
from analysis.verdicts.rules import decide, word_for
from benchmarks.asymptotics import prediction, right_and_wrong, tabulated
from trainers.audit.learning_curve import TIMES, Spectrum

Array = NDArray[np.float64]

SAMPLES = 64 * 2.0 ** np.arange(12)
"""N of the truth, 64 to 131,072; the first 6 or 7 are measured."""
EIGENVALUES = 3000
SPREAD, ROUGH, DRAWS = 0.2, 0.7, 0.3
RATES = (0.8, 1.6)
DESIGN = 0.08
REPLICATES, LEVEL_ERROR, SLOPE_ERROR = 4, 0.02, 0.004
DEGREES = 200
FAMILY = 60
LAWS, POOLED_LAWS, POOLED = 30, 4, 10

NOISE = ((0.03, 5), (0.03, 100), (0.1, 5), (0.1, 20), (0.2, 8), (0.2, 100))
"""Noise of one value, and seeds."""


# --- the truth ------------------------------------------------------------------------------------


@cache
def curve(d: int, law: int, draw: int = 0) -> tuple[Array, Array]:
    """Logs of the best error and of the best time at SAMPLES, [2, N]: as they are, and as the audit
    has them, with times from a grid. draw 0 is the law's own."""
    rng = np.random.default_rng([d, law])
    variables = d + 1
    rate, ratio = rng.uniform(*RATES), math.exp(rng.uniform(-0.7, 0.7))
    waves = ROUGH * rng.standard_normal(DEGREES)
    rng = np.random.default_rng([d, law, draw])
    waves += DRAWS * rng.standard_normal(DEGREES) if draw else 0.0
    at = np.arange(1.0, DEGREES + 1)
    sizes, energies = at ** -(variables + 1), at ** -(1 + variables * rate) * np.exp(waves)
    counts = [math.comb(n + variables - 1, variables - 1) for n in range(DEGREES)]
    counts = [min(count, EIGENVALUES) for count in counts]
    every = np.repeat(sizes, counts) * np.exp(SPREAD * rng.standard_normal(sum(counts)))
    every = np.sort(every)[::-1]
    within = np.exp(SPREAD * np.linspace(-1.5, 1.5, 5))
    spectrum = Spectrum(
        every[:EIGENVALUES],
        np.outer(sizes, within).ravel(),
        np.repeat(energies / len(within), len(within)),
        float(np.sum(every[EIGENVALUES:] ** 2)),
        ratio * float(np.sum(energies)),
    )
    known = np.log(np.array(list(spectrum.best([int(n) for n in SAMPLES]))).T)
    step = math.log(100 * every[0] / every[EIGENVALUES - 1]) / (TIMES - 1)
    true = known.copy()
    for i, n in enumerate(SAMPLES):
        before, least, after = spectrum.errors(
            float(n), np.exp(known[1, i] + step * np.array([-1.0, 0.0, 1.0]))
        )
        true[1, i] += step * (before - after) / (before - 2 * least + after) / 2
    return true, known


def exponent(logs: Array, first: int) -> float:
    """Of the straight line through logs of a curve at SAMPLES from the first on."""
    return -float(np.polyfit(np.log(SAMPLES[first:]), logs[first:], 1)[0])


# --- what is measured -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Sort:
    """A kind of curves: see the module's text. known: draws whose P is known, of 10 pooled ones."""

    name: str
    time: bool
    levels: int = 6
    known: int = 0

    def bend(self, rng: np.random.Generator) -> Array:
        """s at SAMPLES [N]."""
        u = np.log(SAMPLES / SAMPLES[0])
        if self.name == "exact":
            return np.zeros(len(u))
        k, q, phase = rng.uniform(-DESIGN, DESIGN), rng.uniform(0.3, 0.7), rng.uniform(0, 2 * np.pi)
        s = k / 2 * (np.exp(-q * u) + np.sin(np.pi * u / u[self.levels - 1] + phase) / 2)
        if self.name == "width":
            s += np.log1p(0.02 * np.exp(u / 2))
        if self.name in ("fading", "growing"):
            s += np.log1p(0.3 * np.exp(-u / 2))
        return np.asarray(s)


@dataclass(frozen=True)
class Planted:
    """One curve: its fit without and with P, the two exponents that are true, and how far y / P is
    from a straight line, in standard errors of a level mean."""

    fit: PowerLawFit
    informed: PowerLawFit
    truth: float
    late: float
    delta: float


def planted(kind: Sort, sigma: float, seeds: int, repetition: int) -> Planted:
    rng = np.random.default_rng([kind.levels, seeds, repetition])
    d, law, size = (
        (1, 2, 4)[repetition % 3],
        repetition // 3 % LAWS,
        math.sqrt(math.log1p(sigma**2)),
    )
    levels, x = kind.levels, SAMPLES[: kind.levels]
    bend = kind.bend(rng)

    def seen(true: Array, many: int) -> Array:
        noise = size * rng.standard_normal((many, levels)) - size**2 / 2
        return np.asarray(np.exp(true[:levels] + noise))

    if kind.known:
        every = [curve(d, law % POOLED_LAWS, draw) for draw in range(1, FAMILY + 1)]
        true = np.mean([t[int(kind.time)] for t, _known in every], axis=0) + bend
        mine = [every[i] for i in rng.permutation(len(every))[:POOLED]]
        y = np.stack([seen(t[int(kind.time)] + bend, seeds).mean(0) for t, _known in mine])
        fit = fit_power_law(np.tile(x, POOLED), y.ravel(), np.repeat(np.arange(POOLED), levels))
        audits = [known[int(kind.time)] for _true, known in mine[: kind.known]]
    else:
        both, known = curve(d, law)
        true = both[int(kind.time)] + bend
        y = seen(true, seeds)
        fit = fit_power_law(np.tile(x, seeds), y.ravel())
        audits = [known[int(kind.time)]]
    informed = replace(fit, continuation=audited(audits, kind, rng))
    late = int(np.searchsorted(SAMPLES, SAMPLES[-1] / WINDOW, side="right")) - 1
    s, lines = bend[:levels], np.vander(np.log(x), 2)
    delta = float(np.linalg.norm(s - lines @ np.linalg.lstsq(lines, s)[0])) * seeds**0.5 / size
    return Planted(fit, informed, exponent(true, levels - 1), exponent(true, late), delta)


def audited(curves: list[Array], kind: Sort, rng: np.random.Generator) -> Continuation:
    """What an audit knows of a curve, or of the mean of those of several draws."""
    reach = len(SAMPLES) - int(rng.integers(2)) * (kind.levels == 6)
    x = SAMPLES[:reach]
    u = np.log(x) - np.log(SAMPLES).mean()
    shape = (len(curves), REPLICATES, 1)
    error = LEVEL_ERROR * rng.standard_normal(shape) + SLOPE_ERROR * rng.standard_normal(shape) * u
    each = np.stack(curves)[:, None, :reach] + error
    mean = each.mean((0, 1))
    logs = mean[:, None] if kind.known else each[0].T
    ends = window_exponents(x, logs, float(SAMPLES[kind.levels - 1]))
    return Continuation(
        "the kernel's spectrum",
        lambda at: np.interp(np.log(at), np.log(x), mean),
        float(ends.min()),
        float(ends.max()),
        float(x[-1]),
        kind.known,
        alone=kind.name not in ("width", "fading"),
    )


# --- what is said of it ---------------------------------------------------------------------------


def asked(truth: float) -> list[Prediction]:
    """The predictions that are put to a curve whose exponent is `truth`."""
    bounds = [(Kind.BOUND, truth + away) for away in (0.0, -0.1, 0.1, -0.2, 0.2)]
    sharp = [(Kind.SHARP, truth / by) for by in (1.0, 1.3, 0.7)]
    return [prediction(kind, b) for kind, b in bounds + sharp]


KINDS = ("exact", "design", "width", "fading", "growing")
CORRECTED = ("width", "fading", "growing")
RULES = ("line", "without P", "with P")


@dataclass(frozen=True)
class Said:
    """Of one rule, over the repetitions of a row: shares of intervals that hold the truths, the
    median width, shares of verdicts over all predictions, and the largest wrong share on one."""

    covered: float
    covered_late: float
    width: float
    right: float
    wrong: float
    worst: float

    @property
    def open(self) -> float:
        return abs(1 - self.right - self.wrong)


@dataclass(frozen=True)
class Row:
    kind: Sort
    sigma: float
    seeds: int
    allowed: float
    used: float
    rules: tuple[Said, ...]


def row(kind: Sort, sigma: float, seeds: int, repetitions: int) -> Row:
    """Simulate one kind of curves."""
    ends = np.zeros((len(RULES), repetitions, 2))
    truths = np.zeros((repetitions, 2))
    verdicts = np.zeros((len(RULES), repetitions, 2, 8))
    used, variation = 0, 0.0
    for i in range(repetitions):
        one = planted(kind, sigma, seeds, i)
        truths[i] = one.truth, one.late
        variation += (2 * float(stats.norm.cdf(one.delta / 2)) - 1) / repetitions
        seen = one.informed.asymptotic
        used += seen is not None and seen.known is not None
        ends[0, i] = one.fit.ci
        ends[1, i] = one.fit.interval_at_large(one.fit.level)
        ends[2, i] = one.informed.interval_at_large(one.fit.level)
        for j, put in enumerate(asked(one.truth)):
            words = (
                word_for(put, *one.fit.ci),
                decide(put, one.fit)[0],
                decide(put, one.informed)[0],
            )
            for r, word in enumerate(words):
                for w, these in enumerate(right_and_wrong(put, one.truth)):
                    verdicts[r, i, w, j] = word in these
    held = (ends[..., None, 0] <= truths) & (truths <= ends[..., None, 1])
    allowed = max(0.1, 0.85 - variation) if kind.name in CORRECTED else 0.1
    return Row(kind, sigma, seeds, allowed, used / repetitions, tuple(
        Said(
            float(held[r, :, 0].mean()),
                float(held[r, :, 1].mean()),
            float(np.nanmedian(ends[r, :, 1] - ends[r, :, 0])),
            float(verdicts[r, :, 0].mean()),
            float(verdicts[r, :, 1].mean()),
            float(verdicts[r, :, 1].mean(0).max()),
        )
        for r in range(len(RULES))
    ))  # fmt: skip


def rows(repetitions: int) -> Iterator[Row]:
    for time in (False, True):
        kinds = [Sort(name, time) for name in KINDS]
        kinds.append(Sort("design", time, levels=7))
        for kind in kinds:
            for sigma, seeds in NOISE:
                yield row(kind, sigma, seeds, repetitions)
        for known in (POOLED, 1):
            yield row(Sort("design", time, known=known), 0.1, 12, repetitions)


HEADER = "what  curve  levels draws sigma seeds used allowed | " + " | ".join(
    f"{name:9s} holds late width right open wrong worst" for name in RULES
)


def line(r: Row) -> str:
    draws = f"{r.kind.known} of {POOLED}" if r.kind.known else "1"
    told = " | ".join(
        f"{s.covered:15.0%} {s.covered_late:4.0%} {s.width:5.3f} {s.right:5.0%} {s.open:4.0%} "
        f"{s.wrong:5.1%} {s.worst:5.0%}"
        for s in r.rules
    )
    what = "time" if r.kind.time else "error"
    return (
        f"{what:5s} {r.kind.name:6s} {r.kind.levels:6d} {draws:>5s} {r.sigma:5.2f} {r.seeds:5d} "
        f"{r.used:4.0%} {r.allowed:7.0%} | {told}"
    )


def summary(found: list[Row], name: str) -> str:
    told = []
    for i, rule in enumerate(RULES):
        mean = {
            key: float(np.mean([getattr(r.rules[i], key) for r in found]))
            for key in ("covered", "covered_late", "width", "right", "wrong", "worst")
        }
        told.append(
            f"{rule}: holds {mean['covered']:.1%}, late {mean['covered_late']:.1%}, width "
            f"{mean['width']:.3f}, right {mean['right']:.1%}, wrong {mean['wrong']:.1%}"
        )
    return f"{name} ({len(found)} rows)\n  " + "\n  ".join(told)


def main() -> None:
    found = tabulated(__doc__, 100, HEADER, rows, line)
    for name in KINDS:
        print(summary([r for r in found if r.kind.name == name and not r.kind.known], name))
    print(summary([r for r in found if r.kind.known], "pooled"))
    print(summary(found, "all"))


if __name__ == "__main__":
    main()
