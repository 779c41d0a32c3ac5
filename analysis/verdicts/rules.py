"""The rules by which a fit decides on a prediction.

In order; exponents are b in error ~ axis^-b, [low, high] is the fit's interval:

1. No exponent (the fit is refused): `undetermined`, with the fit's reason.
2. Range: at least 1.2 decades and 5 levels, or `undetermined`. A prediction that something does
   not depend on its axis, or stays below a value, extrapolates nothing and asks for 3 levels and a
   factor of 4.
3. bound b >= beta. `faster`: low > beta. `violates`: high < beta. `consistent`: beta is inside and
   low >= beta - margin. Else `undetermined`: the interval also allows a clear violation.
   sharp b = beta. `agrees`: the whole interval lies within beta +- margin (default 15 % of beta).
   `disagrees`: the whole interval lies outside it. Else `undetermined`.
   sharp b = 0. As sharp, but of the largest departure of a level mean from the geometric mean of
   all, simultaneous over levels: `agrees` when it is below the margin (5 %), `disagrees` when
   above.
   qualitative "does not vanish". `agrees`: high < (1 - margin) threshold, threshold the exponent
   that best stopping reaches. `disagrees`: low above that. Else `undetermined`.
   ceiling "is at most c". Of the largest level mean, simultaneous over levels: `agrees` when all of
   its interval is at most c, `disagrees` when all of it is above. Else `undetermined`.
4. Large x. Theory speaks of large N, so [low, high] is that of the exponent at large x wherever it
   can be had (`analysis.fits.asymptotic`): the straight line's own interval while no bend is seen,
   and otherwise that of a power law with a correction that dies out, 1 + k x^-q; both are the wider
   where level means scatter about any such curve by more than seeds explain. Where the kernel's
   spectrum is known beyond the range, and describes the curve no worse, all this is said of the
   curve over what the spectrum says, whose own exponents beyond the range are added. A verdict that
   contradicts the one over the range must be seen at its end: the local exponent of the last window
   of levels (90 % interval, as much wider) must give it too.
   Where it cannot be had (too few values to show a bend, or one that no such correction
   describes), the local exponent must not drift (curvature test at 10 %), or every window of local
   slopes and the exponent that the drift would reach over another range as long must give the same
   verdict. No drift is seen: `faster`, `violates` and `disagrees` must be confirmed by the exponent
   at the largest x (its 90 % interval, by a quadratic in log-log), and `consistent` and `agrees`
   must not be contradicted by it. "Does not vanish" is a statement of large N alone: for its
   `agrees`, the last window and the forecast suffice.
   A law of growth that is asked of the measured range alone (`Growth.within`) is not extrapolated:
   its interval is the plain one, however the curve bends about it.
   A fit with an offset has its bend in its form: the curve must not bend about that form (score
   test of a quadratic, at 10 %) by more than leaves the verdict as it is, or `undetermined`.

`undetermined` says what would settle it: seeds (half-width ~ t/sqrt(seeds)) or range (half-width
~ range^-3/2 at the same density of levels), computed from the present interval.
benchmarks/asymptotics.py measures how often these rules are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from analysis.data.audit import MINIMUM_DECADES
from analysis.data.sweeps import PLAIN
from analysis.fits.asymptotic import Asymptotic
from analysis.fits.power_law import FitStatus, PowerLawFit
from analysis.levels.intervals import student
from analysis.text import counted, p_text, percent
from analysis.theory import Kind, Prediction

MINIMUM_LEVELS = 5
LEAST_POINTS = 100
"""Effective number of test points below which nothing is judged: a few of them decide the mean."""
MINIMUM_DECADES_OF_ZERO = math.log10(4)
MINIMUM_LEVELS_OF_ZERO = 3
DRIFT_P = 0.1
END_LEVEL = 0.9
MOST_SEEDS = 200
"""More seeds than this per level are not worth naming."""
EQUAL = 1e-9
"""Exponents that differ by this share of theory's are one: floats round."""
SETTLES = "would settle it"


class Word(StrEnum):
    """The verdicts."""

    CONSISTENT = "consistent"
    FASTER = "faster"
    VIOLATES = "violates"
    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNDETERMINED = "undetermined"


_OPPOSITE = {Word.CONSISTENT: Word.VIOLATES, Word.AGREES: Word.DISAGREES}
"""Verdicts that claim no more than that theory may stand, and what would contradict them."""
_CONTRARY = ({Word.FASTER, Word.VIOLATES}, *({a, b} for a, b in _OPPOSITE.items()))


def decide(prediction: Prediction, fit: PowerLawFit) -> tuple[Word, str]:
    """The verdict and its reason, a sentence without a full stop."""
    zero = of_zero(prediction)
    if prediction.kind is Kind.CEILING:
        return _decide_ceiling(prediction, fit, fit.level)
    if not math.isfinite(prediction.exponent):
        return Word.UNDETERMINED, "theory's exponent needs kernel data that were not given"
    if fit.status is not FitStatus.OK and not (zero and fit.spread is not None):
        return Word.UNDETERMINED, fit.message
    short = short_range(fit.levels, prediction)
    if short:
        return Word.UNDETERMINED, f"the range is too short: it {short}"
    if zero:
        return _decide_zero(prediction, fit)
    if not np.isfinite(fit.ci).all():
        return Word.UNDETERMINED, fit.message or "the data do not bound the exponent"
    if fit.asymptotic is not None:
        return _at_large(prediction, fit, fit.asymptotic)
    word = word_for(prediction, *fit.ci)
    told = f"b = {fit.exponent:.3g} [{fit.ci[0]:.3g}, {fit.ci[1]:.3g}] {_phrase(prediction, word)}"
    if word is Word.UNDETERMINED:
        return word, f"{told}; {_settle(prediction, fit)}"
    drift = "" if fit.growth.within else _drift(prediction, fit, word)
    return (Word.UNDETERMINED, f"{told}, but {drift}") if drift else (word, told)


def _at_large(prediction: Prediction, fit: PowerLawFit, seen: Asymptotic) -> tuple[Word, str]:
    """The verdict by the exponent at large x."""
    word = word_for(prediction, seen.low, seen.high)
    told = f"b = {fit.exponent:.3g} [{fit.ci[0]:.3g}, {fit.ci[1]:.3g}]"
    if not seen.plain:
        about = "" if seen.known is None else " about it"
        rough = (
            f"the means scatter {seen.roughness:.2g} times as much{about} as seeds explain"
            if seen.roughness > 1
            else ""
        )
        bent = f"the curve {'may bend' if seen.straight else 'bends'}{about}"
        how = " and ".join(filter(None, [bent if seen.bent else "", rough]))
        told += f" over the range; {_how_far(prediction, seen, how)}, so "
        told += (
            f"at large values b is in [{seen.low:.3g}, {seen.high:.3g}], which "
            f"{_phrase(prediction, word)}"
        )
    else:
        told += f" {_phrase(prediction, word)}"
    if word is not Word.UNDETERMINED:
        unseen = _unseen(prediction, fit, seen, word)
        return (Word.UNDETERMINED, f"{told}, but {unseen}") if unseen else (word, told)
    more = _settle(prediction, fit, seen)
    if seen.bent:
        more += f"; levels beyond {max(fit.levels):g} show where the bend ends"
    return word, f"{told}; {more}"


def _how_far(prediction: Prediction, seen: Asymptotic, how: str) -> str:
    """What the limits at large values rest on."""
    if seen.known is None:
        return how
    axis, own = PLAIN.get(prediction.axis, prediction.axis), seen.known
    ends = f"{own.low:.3g}" if own.high - own.low < 5e-4 else f"{own.low:.3g} to {own.high:.3g}"
    told = (
        f"{own.name}, which the curve follows, goes on to {axis} = {own.reach:,.0f} with b = {ends}"
    )
    return f"{told}; {how}" if how else told


def _unseen(prediction: Prediction, fit: PowerLawFit, seen: Asymptotic, word: Word) -> str:
    """Why a verdict that contradicts the one over the range is not shown by the range's end; empty
    where it is, or where the two do not contradict each other."""
    over_range = word_for(prediction, *fit.ci)
    if not fit.local_slopes or {word, over_range} not in _CONTRARY:
        return ""
    end = fit.local_slopes[-1]
    low, high = replace(end, error=end.error * seen.roughness).interval(END_LEVEL)
    if word_for(prediction, low, high) is word:
        return ""
    return (
        f"over the range it says {over_range}, and the last local exponent, {end.exponent:.3g} "
        f"[{low:.3g}, {high:.3g}] from {end.low:g} to {end.high:g}, does not show the change yet: "
        f"levels beyond {end.high:g} would"
    )


def word_at(prediction: Prediction, fit: PowerLawFit, level: float) -> Word:
    """The verdict by rule 3 for a fit's interval at another confidence level."""
    if prediction.kind is Kind.CEILING:
        return _decide_ceiling(prediction, fit, level)[0]
    if of_zero(prediction):
        change = fit.spread_at(level)
        return _decide_zero(prediction, replace(fit, spread=change))[0]
    low, high = fit.interval_at_large(level)
    return Word.UNDETERMINED if math.isnan(low + high) else word_for(prediction, low, high)


def word_for(prediction: Prediction, low: float, high: float) -> Word:
    """Rule 3 for an interval [low, high] of the exponent; not where `of_levels`."""
    start, stop = _zone(prediction)
    beta, near = prediction.exponent, EQUAL * abs(prediction.exponent)
    if prediction.kind is Kind.QUALITATIVE:
        if high < stop - near:
            return Word.AGREES
        return Word.DISAGREES if low > stop + near else Word.UNDETERMINED
    if prediction.kind is Kind.SHARP:
        if start - near <= low and high <= stop + near:
            return Word.AGREES
        outside = high < start - near or low > stop + near
        return Word.DISAGREES if outside else Word.UNDETERMINED
    if low > beta + near:
        return Word.FASTER
    if high < beta - near:
        return Word.VIOLATES
    return Word.CONSISTENT if low >= start - near else Word.UNDETERMINED


def _zone(prediction: Prediction) -> tuple[float, float]:
    """The exponents that count as theory's: beta +- margin |beta|; for `qualitative`, all below the
    threshold less margin |threshold|."""
    if prediction.kind is Kind.QUALITATIVE:
        return -math.inf, prediction.threshold - prediction.margin * abs(prediction.threshold)
    reach = prediction.margin * abs(prediction.exponent)
    return prediction.exponent - reach, prediction.exponent + reach


def _phrase(prediction: Prediction, word: Word) -> str:
    start, stop = _zone(prediction)
    beta, share = f"{prediction.exponent:.3g}", percent(prediction.margin)
    if prediction.kind is Kind.QUALITATIVE:
        cut = f"{stop:.3g}"
        if prediction.margin > 0:
            cut += f", which is {share} less than the exponent {prediction.threshold:.3g}"
            cut += " of best stopping" if prediction.theory_key else ""
        return {
            Word.AGREES: f"lies below {cut}",
            Word.DISAGREES: f"lies above {cut}",
        }.get(word, f"contains {cut}")
    if prediction.kind is Kind.SHARP:
        zone = f"[{start:.3g}, {stop:.3g}], theory's {beta} within {share}"
        return {
            Word.AGREES: f"lies inside {zone}",
            Word.DISAGREES: f"lies outside {zone}",
        }.get(word, f"lies partly inside {zone}")
    return {
        Word.FASTER: f"lies above the bound {beta}",
        Word.VIOLATES: f"lies below the bound {beta}",
        Word.CONSISTENT: f"contains the bound {beta} and reaches less than {share} below it",
    }.get(word, f"contains the bound {beta} and reaches more than {share} below it")


def short_range(levels: Sequence[float], prediction: Prediction) -> str:
    """What distinct values of the axis lack for a verdict by rule 2: `has 4 values of the axis and
    needs 5`; empty where they suffice."""
    least, decades = wanted_range(prediction)
    wants = []
    if len(levels) < least:
        wants.append(f"has {counted(len(levels), 'value')} of the axis and needs {least}")
    factor = max(levels) / min(levels) if levels else 1.0
    if math.log10(factor) < decades - 1e-9:
        wants.append(
            f"spans a factor of {factor:.3g} and needs {10**decades:.3g} ({decades:.2g} decades)"
        )
    return " and ".join(wants)


def wanted_range(prediction: Prediction) -> tuple[int, float]:
    """The distinct values of the axis, and the decades, that rule 2 asks for."""
    if of_levels(prediction):
        return MINIMUM_LEVELS_OF_ZERO, MINIMUM_DECADES_OF_ZERO
    return MINIMUM_LEVELS, MINIMUM_DECADES


def of_zero(prediction: Prediction) -> bool:
    """Whether theory says that the quantity does not depend on the axis at all."""
    return prediction.kind is Kind.SHARP and prediction.exponent == 0


def of_levels(prediction: Prediction) -> bool:
    """Whether theory speaks of level means themselves, and not of how they fall."""
    return of_zero(prediction) or prediction.kind is Kind.CEILING


def _drift(prediction: Prediction, fit: PowerLawFit, word: Word) -> str:
    """Rule 4: why the curve's drift forbids `word`; empty when it does not."""
    if fit.misfit is not None and fit.misfit.p_value < DRIFT_P:
        low, high, reach = *fit.ci, abs(fit.misfit.drift)
        if word_for(prediction, low - reach, high + reach) is word:
            return ""
        return (
            f"the curve bends about {fit.growth.form} ({p_text(fit.misfit.p_value)}), so its "
            "exponent is not that of large values: extend the range, or leave out the smallest"
        )
    bend, end, forecast = fit.curvature, fit.end_slope, fit.forecast_slope
    if bend is None or end is None or forecast is None:
        return ""
    more = f"no single exponent is reached yet; extend the range beyond {end.high:g}"
    if bend.p_value < DRIFT_P:
        share = 1 - (1 - fit.level) / len(fit.local_slopes)
        windows = fit.local_slopes
        if prediction.kind is Kind.QUALITATIVE and word is Word.AGREES:
            windows = windows[-1:]
        ends = [s.interval(share) for s in windows] + [forecast.interval(fit.level)]
        same_side = len({low > prediction.exponent for low, _high in ends}) == 1
        if {word_for(prediction, *pair) for pair in ends} == {word} and (
            same_side or word is not Word.DISAGREES
        ):
            return ""
        first, last = fit.local_slopes[0].exponent, fit.local_slopes[-1].exponent
        return (
            f"the local exponent drifts from {first:.2f} to {last:.2f} over the range (curvature "
            f"{p_text(bend.p_value)}): {more}"
        )
    low, high = end.interval(END_LEVEL)
    at_end = word_for(prediction, low, high)
    if at_end is word or (word in _OPPOSITE and at_end is not _OPPOSITE[word]):
        return ""
    told = (
        f"the exponent at the largest value alone is {end.exponent:.3g} [{low:.3g}, {high:.3g}], "
    )
    if {word, at_end} in _CONTRARY:
        return f"{told}which says {at_end}: {more}"
    half, room = (high - low) / 2, _room(prediction, word, end.exponent)
    seeds = _seeds(max(fit.seeds, 1), half, room, end.freedom, END_LEVEL)
    return (
        f"{told}which is too uncertain to rule out that the curve bends: {seeds or 'add seeds'}, "
        f"or extend the range beyond {end.high:g}"
    )


def _room(prediction: Prediction, word: Word, exponent: float) -> float:
    """How far an exponent lies within what gives `word`; negative outside."""
    start, stop = _zone(prediction)
    if prediction.kind is Kind.BOUND:
        above = exponent - prediction.exponent
        return {Word.FASTER: above, Word.VIOLATES: -above}.get(word, exponent - start)
    inside = min(exponent - start, stop - exponent)
    return inside if word is Word.AGREES else -inside


def _decide_zero(prediction: Prediction, fit: PowerLawFit) -> tuple[Word, str]:
    change = fit.spread
    if change is None:
        return Word.UNDETERMINED, fit.message
    cut = math.log1p(prediction.margin)
    low, high, middle = (math.expm1(v) for v in (change.low, change.high, change.estimate))
    told = (
        f"level means differ from their geometric mean by at most {percent(middle, 2)} "
        f"({percent(low, 2)} to {percent(high, 2)}), and {percent(prediction.margin)} is allowed"
    )
    if change.high <= cut:
        return Word.AGREES, told
    if change.low > cut:
        return Word.DISAGREES, told
    return (
        Word.UNDETERMINED,
        f"{told}; {_settled(fit, change.high - change.estimate, abs(cut - change.estimate))}",
    )


def _decide_ceiling(prediction: Prediction, fit: PowerLawFit, level: float) -> tuple[Word, str]:
    top = fit.peak_at(level)
    if top is None:
        return Word.UNDETERMINED, fit.message
    short = short_range(fit.levels, prediction)
    if short:
        return Word.UNDETERMINED, f"the range is too short: it {short}"
    cut = prediction.threshold
    told = (
        f"the largest level mean is {top.estimate:.3g} ({top.low:.3g} to {top.high:.3g}), and at "
        f"most {cut:.3g} is allowed"
    )
    if top.high <= cut * (1 + EQUAL):
        return Word.AGREES, told
    if top.low > cut * (1 + EQUAL):
        return Word.DISAGREES, told
    half, room = math.log(top.high / top.estimate), abs(math.log(cut / top.estimate))
    return Word.UNDETERMINED, f"{told}; {_settled(fit, half, room)}"


def _settle(prediction: Prediction, fit: PowerLawFit, seen: Asymptotic | None = None) -> str:
    """How many seeds, or how long a range, would make the interval short enough: the fit's, or that
    at large values, `seen`, of which no seeds shorten the part that is known from elsewhere."""
    start, stop = _zone(prediction)
    exponent, low, high = (
        (fit.exponent, *fit.ci) if seen is None else (seen.exponent, seen.low, seen.high)
    )
    known = None if seen is None else seen.known
    drift = 0.0 if seen is None else seen.drift
    least, most = (exponent, exponent) if seen is None else seen.given
    half = (high - low) / 2 if known is None else max(least - low, high - most)
    if prediction.kind is Kind.BOUND:
        # below the bound: its upper end must fall below it; above: the lower end must pass start
        room = max(prediction.exponent - most, least - start)
    else:
        inside, outside = min(least - start, stop - most), max(start - most, least - stop)
        room = max(inside, outside)
    if known is not None:
        if room <= drift:
            return (
                f"no seeds would settle it: what {known.name} says of larger values, give or take "
                f"{(most - least) / 2 + drift:.2g}, is too near an edge of what counts as theory's "
                "value; a longer range would make that less"
            )
        half, room = (math.sqrt(max(0.0, all_of**2 - drift**2)) for all_of in (half, room))
    told = _settled(fit, half, room)
    if room > 0 and 1 < half / room < 8:
        decades = fit.range_decades * (half / room) ** (2 / 3)
        range_told = f"a range of {decades:.2g} decades (now {fit.range_decades:.2g})"
        also = ", and so would {}" if told.endswith(SETTLES) else "; {} would"
        told += also.format(range_told)
    return told


def _settled(fit: PowerLawFit, half: float, room: float) -> str:
    """Seeds per level that bring the fit's half-width down to `room`."""
    told = _seeds(max(fit.seeds, 1), half, room, _freedom(fit), fit.level) or (
        f"not even {MOST_SEEDS} seeds per level {SETTLES}: the estimate lies too near the edge of "
        "what counts as theory's value"
    )
    return told if fit.two_levels is None else f"with kernel seeds in proportion, {told}"


def _seeds(now: int, half: float, room: float, freedom: float, level: float) -> str:
    """Seeds per level that bring a half-width down to `room`, the estimate staying where it is;
    empty where MOST_SEEDS do not."""
    error = half / student(level, freedom)
    for count in range(now + 1, MOST_SEEDS + 1):
        spare = freedom * (count - 1) / max(now - 1, 1)
        if error * student(level, spare) <= room * math.sqrt(count / now):
            return f"about {count} seeds per level (now {now}) {SETTLES}"
    return ""


def _freedom(fit: PowerLawFit) -> float:
    if fit.means is None:
        return math.inf
    return fit.means.contrast(-fit.means.polynomial(1)[1]).freedom
