"""What a study will decide, told before anything trains.

Each curve that the study will have is drawn DRAWS times as a power law with the scatter of
`pilots`, at the study's own levels and numbers of seeds, and fitted as the study's will be: two
levels where the kernel limit stands beside networks, per-seed slopes along m and eta, the test
set's part. So the half-width is that of the intervals themselves, and a verdict is expected where
DECIDED of the draws give one.

A curve that bends needs more than is said here: limits of b at large values are wider then
(docs/asymptotics.txt). Where the audit will know the spectrum, by which best errors and times go on
beyond the range, curves are power laws about it, and limits hold what the pilots' left open.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import GEOMETRIC, OF_DESCENT, OF_THE_KERNEL, Quantity
from analysis.fits.growth import Continuation
from analysis.fits.power_law import PowerLawFit, fit_power_law
from analysis.levels.intervals import Array, summarise
from analysis.levels.two_levels import Control
from analysis.text import number
from analysis.theory import Kind, Prediction, predictions
from analysis.theory.prediction import NETWORK
from analysis.verdicts.asking import CLASSES, range_needed
from analysis.verdicts.judging import usable
from analysis.verdicts.own import Own
from analysis.verdicts.own import at as own_at
from analysis.verdicts.pilots import FITTED_AT, PILOTS, best_time, noise_is_fitted
from analysis.verdicts.rules import Word, decide, of_zero, short_range, word_for
from trainers.columns import TEST_GROUPS

DRAWS = 32
DECIDED = 0.7
"""Share of the draws that must give a verdict where one is expected. About one straight curve in
five looks as if it might bend, however short its interval is, and stays open then."""
_GRID = 401
_LEAST_SEEDS = 3
"""Trials of a level that tell its scatter."""

Scales = Mapping[tuple[str, int], float]
"""The scatter of a quantity in dimension d over that of the pilots."""

_TIMED = (Quantity.BEST_ERROR, Quantity.BEST_ERROR_UNWEIGHTED, Quantity.BEST_TIME)
_WITH_KERNEL = (*OF_THE_KERNEL, Quantity.COUPLING_AT_TIME)
"""Quantities that need the kernel's columns."""

_AXIS: Mapping[str, str] = {
    Quantity.COUPLING_AT_TIME: "width",
    Quantity.ERROR_AT_TIME: "step_size",
}
"""Where a pilot's figures are not those along N."""


@dataclass(frozen=True)
class Planned:
    """A curve that a study will have. levels: values of the axis, rising. samples: N at each.
    seeds: trials at each. limits: those of the kernel limit beside a network's, the same data
    among them; 0 where there are none. times: the effective time at which each level ends.
    infinite: whether it is the limit itself. kernel: whether the kernel's columns are asked for.
    descends: whether eta tau is the trainer's clock. audited: whether the audit's spectrum says how
    descent from 0 goes on along N. one_width: whether it is of networks whose width does not grow
    with N. from_zero: whether its networks are 0 at the first step."""

    axis: str
    dimension: int
    levels: tuple[float, ...]
    samples: tuple[float, ...]
    seeds: tuple[int, ...]
    limits: tuple[int, ...]
    times: tuple[float, ...]
    infinite: bool = False
    kernel: bool = True
    descends: bool = True
    audited: bool = False
    one_width: bool = False
    from_zero: bool = True

    @property
    def network(self) -> bool:
        """Whether kernel descent from 0 is the limit of its networks."""
        return self.descends and self.from_zero and not self.infinite

    @property
    def foretold(self) -> bool:
        """Whether the audit's spectrum, which is of descent from 0, says how it goes on."""
        return self.audited and self.from_zero

    @property
    def linked(self) -> bool:
        """Whether the trials of one seed share their data along the axis."""
        return self.axis != "samples"

    def asked(self, own: Sequence[Own] = ()) -> list[Prediction]:
        """The predictions for such a curve, and those of the user's `own`; those of the audit's
        quantities are none of them."""
        known = [*predictions(self.dimension), *(own_at(one, self.dimension) for one in own)]
        return [
            p
            for p in known
            if p.axis == self.axis
            and p.quantity in PILOTS
            and p.kind is not Kind.CEILING
            and (self.kernel or p.quantity not in _WITH_KERNEL)
            and (self.descends or p.quantity not in OF_DESCENT)
            and not (self.infinite and p.quantity == Quantity.COUPLING_AT_TIME)
            and (self.network or NETWORK not in p.needs)
        ]


@dataclass(frozen=True)
class Expected:
    """What a curve will say of a prediction. needs: why it cannot decide, empty where it can.
    half_width: of the exponent's interval (of the largest departure, where theory says none).
    undecided: the exponents that would leave it open, as intervals. pilots: the exponent that
    pilots had, NaN where none is known."""

    prediction: Prediction
    planned: Planned
    needs: str = ""
    half_width: float = math.nan
    undecided: tuple[tuple[float, float], ...] = ()
    pilots: float = math.nan

    @property
    def will_decide(self) -> bool:
        """Whether a verdict is expected, whatever the exponent or at the pilots' one."""
        known = math.isfinite(self.prediction.exponent) and not self.needs
        if not known or not self.undecided:
            return known
        inside = any(low <= self.pilots <= high for low, high in self.undecided)
        return math.isfinite(self.pilots) and not inside

    @property
    def told(self) -> str:
        """In a line: what it will decide, or unless what, or why not; and of what class of targets
        it speaks, where an audit will look whether the law's is one."""
        if self.needs:
            return f"cannot: needs {self.needs}"
        about = [other for name, other in CLASSES.items() if name in self.prediction.assumptions]
        audited = about and self.planned.audited
        asked = f"; asked unless the audit finds {about[0]}" if audited else ""
        return f"{self._decides}{asked}"

    @property
    def _decides(self) -> str:
        if of_zero(self.prediction):
            word = "will decide" if self.will_decide else "may stay open"
            return f"{word} (sees a change of {100 * self.half_width:.2g} %)"
        width = f"±{self.half_width:.3f}" if self.half_width < 0.02 else f"±{self.half_width:.2f}"
        if not math.isfinite(self.prediction.exponent):
            return f"{width}, theory's b comes from the audit"
        if not self.undecided:
            return f"{width}, will decide"
        bands = " or ".join(f"{number(low)} to {number(high)}" for low, high in self.undecided)
        if self.will_decide:
            near = f"will decide if b is near {number(self.pilots)}, as in pilots on mixtures"
            return f"{width}, {near}; open is {bands} (theory {_theory(self.prediction)})"
        if _too_wide(self.prediction, self.undecided):
            return (
                f"{width}, can only disagree (theory {_theory(self.prediction)}): to agree takes "
                "more seeds, of infinite width the cheapest, or more values of N"
            )
        return f"{width}, open if b is {bands} (theory {_theory(self.prediction)})"


def _too_wide(prediction: Prediction, undecided: Sequence[tuple[float, float]]) -> bool:
    """Whether even the exponent that a sharp prediction gives would be left open."""
    if prediction.kind is not Kind.SHARP:
        return False
    return any(low <= prediction.exponent <= high for low, high in undecided)


def _theory(prediction: Prediction) -> str:
    if prediction.kind is Kind.QUALITATIVE:
        return f"below {number(prediction.threshold)}"
    return ("≥ " if prediction.kind is Kind.BOUND else "") + number(prediction.exponent)


def expected(
    planned: Planned, scales: Scales | None = None, own: Sequence[Own] = ()
) -> list[Expected]:
    """What a curve will say of each prediction for it. scales: as of `measured_scales`. own: of the
    user's own."""
    return [_expected(prediction, planned, scales or {}) for prediction in planned.asked(own)]


def _expected(prediction: Prediction, planned: Planned, scales: Scales) -> Expected:
    needs = _needs(prediction, planned)
    if needs:
        return Expected(prediction, planned, needs)
    fits = draws(prediction.quantity, planned, scales)
    pilot = PILOTS[Quantity(prediction.quantity)].exponent_at(planned.dimension)
    if (known := _beyond(prediction, planned)) is not None:
        fits = [replace(fit, continuation=known) for fit in fits]
    if of_zero(prediction):
        spreads = [fit.spread.high for fit in fits if fit.spread is not None]
        words = [decide(prediction, fit)[0] for fit in fits]
        open_ = np.mean([word is Word.UNDETERMINED for word in words]) > 1 - DECIDED
        half = float(np.expm1(np.median(spreads))) if spreads else math.inf
        return Expected(prediction, planned, "", half, ((0.0, 0.0),) if open_ else ())
    halves = [np.ptp(fit.ci) / 2 if fit.ok else math.inf for fit in fits]
    half = float(np.median(halves))
    if not math.isfinite(half):
        return Expected(prediction, planned, "seeds: too few for an interval")
    undecided = _undecided(prediction, fits, half)
    return Expected(prediction, planned, "", half, undecided, pilot)


def _beyond(prediction: Prediction, planned: Planned) -> Continuation | None:
    """What the audit will know of larger values, as pilots did: the spectrum is that of b = 0."""
    half = PILOTS[Quantity(prediction.quantity)].beyond
    if not planned.foretold or half == 0:
        return None
    return Continuation(
        "the kernel's spectrum", np.zeros_like, -half, half, math.inf, alone=not planned.one_width
    )


def _needs(prediction: Prediction, planned: Planned) -> str:
    """What the design lacks: range, or steps, as far as pilots know; and what a prediction of the
    user's own does."""
    if prediction.unsaid and not prediction.theory_key:
        return f"a number for its {prediction.unsaid[0]} at d = {planned.dimension}"
    if short_range(planned.levels, prediction):
        return range_needed(prediction, planned.axis, planned.levels)
    each = list(zip(planned.levels, planned.samples, planned.times, strict=True))
    if prediction.quantity == Quantity.FINAL_ERROR:
        fitted = [x for x, n, time in each if noise_is_fitted(n, planned.dimension, time)]
        if short_range(fitted, prediction):
            largest = f"N up to {max(fitted):g}" if fitted else "no such N"
            return (
                f"every trial to fit its noise (pilots did at {largest}, by ητ = {FITTED_AT:,.0f})"
            )
    if prediction.quantity in _TIMED:
        late = [x for x, n, time in each if best_time(n, planned.dimension) > time]
        if short_range([x for x in planned.levels if x not in late], prediction):
            n, time = max(planned.samples), min(planned.times)
            wanted = best_time(n, planned.dimension)
            return (
                f"more steps (they end at ητ = {time:g}; pilots had their best at {wanted:.3g} "
                f"for N = {n:g})"
            )
    return ""


def _undecided(
    prediction: Prediction, fits: Sequence[PowerLawFit], half: float
) -> tuple[tuple[float, float], ...]:
    """The exponents at which fewer than DECIDED of the draws give a verdict, as intervals. Draws
    are of b = 0, and another exponent moves every interval by as much."""
    if not math.isfinite(prediction.exponent):
        return ()
    centre = prediction.threshold if prediction.kind is Kind.QUALITATIVE else prediction.exponent
    reach = abs(centre) * prediction.margin + 6 * half
    grid, step = np.linspace(centre - reach, centre + reach, _GRID, retstep=True)
    ends = [_at_large(fit) for fit in fits]
    decided = np.array(
        [
            np.mean(
                [word_for(prediction, low + b, high + b) is not Word.UNDETERMINED
                 for low, high in ends]
            )
            for b in grid.tolist()
        ]
    )  # fmt: skip
    bands: list[tuple[float, float]] = []
    for b in grid[decided < DECIDED].tolist():
        # gaps that are short against the interval are the draws' own noise
        start = bands.pop()[0] if bands and b - bands[-1][1] <= half / 2 + step else b
        bands.append((start, b))
    return tuple(bands)


def _at_large(fit: PowerLawFit) -> tuple[float, float]:
    """The limits by which a verdict is reached; NaN where a drift could not be ruled out."""
    seen = fit.asymptotic
    return (math.nan, math.nan) if seen is None else (seen.low, seen.high)


# --- a curve with the pilots' scatter -------------------------------------------------------------


def draws(
    quantity: str, planned: Planned, scales: Scales | None = None, count: int = DRAWS
) -> list[PowerLawFit]:
    """Fits of curves with exponent 0 and the scatter of the pilots, the same ones at every call."""
    generator = np.random.default_rng(0)
    scale = (scales or {}).get((str(quantity), planned.dimension), 1.0)
    return [_draw(quantity, planned, scale, generator) for _ in range(count)]


def _draw(
    quantity: str, planned: Planned, scale: float, generator: np.random.Generator
) -> PowerLawFit:
    pilot = PILOTS[Quantity(quantity)]
    sigma = scale * pilot.at(np.array(planned.samples), planned.dimension)
    x, y, seed, own_x, own_y, own_seed = ([] for _ in range(6))
    for at, (level, size) in enumerate(zip(planned.levels, planned.seeds, strict=True)):
        limits = 0 if quantity == Quantity.FINAL_ERROR else planned.limits[at]
        z = sigma[at] * generator.standard_normal(max(size, limits))
        apart = pilot.paired * generator.standard_normal(size) if limits else np.zeros(size)
        names = np.arange(len(z)) if planned.linked else 10**6 * at + np.arange(len(z))
        x.append(np.full(size, level))
        y.append(np.exp(z[:size] + apart))
        seed.append(names[:size])
        if limits > size:
            own_x.append(np.full(len(z), level))
            own_y.append(np.exp(z))
            own_seed.append(names)
    values, who = np.concatenate(y), np.concatenate(seed)
    control = None
    if own_x:
        parts = (np.concatenate(own) for own in (own_x, own_y, own_seed))
        control = Control(who, *parts)
    return fit_power_law(
        np.concatenate(x),
        values,
        who if planned.linked else None,
        without=_tested(pilot.tested, values, planned.seeds, generator),
        control=control,
        geometric=quantity in GEOMETRIC,
    )


def _tested(
    size: float, y: Array, seeds: Sequence[int], generator: np.random.Generator
) -> Array | None:
    """y without each group of test points [n, K], such that the test set moves each level by a
    share `size`; None where it does not."""
    if size == 0:
        return None
    groups = TEST_GROUPS
    move = size * math.sqrt(groups) / (groups - 1) * generator.standard_normal((len(seeds), groups))
    return np.asarray(y[:, None] * np.exp(np.repeat(move, seeds, axis=0)))


# --- what a study's own trials say of the scatter -------------------------------------------------


def measured_scales(curves: Iterable[Curve]) -> dict[tuple[str, int], float]:
    """The scatter of each quantity in each dimension over that of the pilots, both as mean squares
    over the levels with _LEAST_SEEDS trials or more; nothing where there are none."""
    squares: dict[tuple[str, int], Array] = {}
    for curve in curves:
        if curve.quantity in PILOTS and curve.axis == _AXIS.get(curve.quantity, "samples"):
            key = str(curve.quantity), curve.dimension
            squares[key] = squares.get(key, np.zeros(2)) + _squares(usable(curve)[0])
    return {key: math.sqrt(own / pilot) for key, (own, pilot) in squares.items() if pilot > 0}


def _squares(curve: Curve) -> Array:
    """Squared scatter and that of the pilots, summed over levels [2]; 0 where it is unknown."""
    if len(curve.x) < _LEAST_SEEDS:
        return np.zeros(2)
    pilot, linked = PILOTS[Quantity(curve.quantity)], curve.axis != "samples"
    if linked:
        logs = pd.DataFrame({"x": curve.x, "seed": curve.seed, "y": np.log(curve.y)})
        table = logs.pivot_table(index="seed", columns="x", values="y").dropna()
        if min(table.shape) < _LEAST_SEEDS:
            return np.zeros(2)
        left = table.sub(table.mean(axis=1), axis=0)
        left = left - left.mean(axis=0)
        rows, columns = table.shape
        own = np.array([float((left**2).to_numpy().sum()) / ((rows - 1) * (columns - 1))])
        samples = np.array([float(curve.fixed["samples"])])
    else:
        means = summarise(curve.x, curve.y, geometric=curve.geometric)
        known = means.count >= _LEAST_SEEDS
        own, samples = (means.variance * means.count)[known], means.x[known]
    return np.array([own.sum(), (pilot.at(samples, curve.dimension) ** 2).sum()])
