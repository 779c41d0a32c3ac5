"""What the data say about a prediction.

The rules, in order. Exponents are b in error ~ axis^-b; [low, high] is the fit's interval.

1. No exponent (the fit is refused): `undetermined`, with the fit's reason.
2. Range: at least 1.2 decades and 5 levels, or `undetermined`. A prediction that something does
   not depend on its axis extrapolates nothing and asks for 3 levels and a factor of 4.
3. bound b >= beta. `faster`: low > beta. `violates`: high < beta. `consistent`: beta is inside and
   low >= beta - margin. Else `undetermined`: the interval also allows a clear violation.
   sharp b = beta. `agrees`: the whole interval lies within beta +- margin (default 15 % of beta).
   `disagrees`: the whole interval lies outside it. Else `undetermined`.
   sharp b = 0. As sharp, but of the largest change of a level mean over the range, simultaneous
   over levels: `agrees` when it is below the margin (5 %), `disagrees` when above.
   qualitative "does not vanish". `agrees`: high < (1 - margin) threshold, threshold the exponent
   that best stopping reaches. `disagrees`: low above that. Else `undetermined`.
4. Drift. Theory speaks of large N, so where the curve is heading counts.
   The local exponent drifts (curvature test at 10 %): the verdict stands only if every window of
   local slopes gives it (simultaneously), and so does the exponent that would be reached if the
   drift went on over another range as long as the measured one. Corrections 1 + k x^-q that decay
   by half or more over the range cannot pass for the limit then.
   No drift is seen: `faster`, `violates` and `disagrees` must be confirmed by the exponent at the
   largest x (its 90 % interval, by a quadratic in log-log), for a drift that the test misses still
   shifts the whole-range exponent by many standard errors. `consistent` and `agrees` must not be
   contradicted by it.

`undetermined` says what would settle it: seeds (half-width ~ 1/sqrt(seeds)) or range (half-width
~ range^-3/2 at the same density of levels), computed from the present interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from analysis.diagnostics import LocalSlope
from analysis.power_law import FitStatus, PowerLawFit, fit_power_law
from analysis.quantities import Curve, curves
from analysis.theory import Kind, Prediction, predictions

MINIMUM_DECADES = 1.2
MINIMUM_LEVELS = 5
MINIMUM_DECADES_OF_ZERO = math.log10(4) - 1e-9
MINIMUM_LEVELS_OF_ZERO = 3
DRIFT_P = 0.1
END_LEVEL = 0.9


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


@dataclass(frozen=True)
class Verdict:
    """One prediction judged on one curve; `to_dict` is an entry of verdicts.json."""

    prediction: str
    quantity: str
    axis: str
    theory_exponent: float
    kind: str
    exponent: float
    ci_low: float
    ci_high: float
    level: float
    seeds: int
    points: int
    range: tuple[float, float]
    local_slopes: tuple[LocalSlope, ...]
    fit: Mapping[str, Any]
    verdict: Word
    reason: str
    source: str
    statement: str = ""
    margin: float = math.nan
    law: str = ""
    law_id: str = ""
    dimension: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)
    adjusted_low: float = math.nan
    adjusted_high: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON data: NaN and infinities become null."""
        plain: dict[str, Any] = _json(asdict(self))
        return plain


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value


def judge(prediction: Prediction, fit: PowerLawFit) -> Verdict:
    """The verdict of `fit` on `prediction`, by the rules of this module."""
    word, reason = _decide(prediction, fit)
    ends = (min(fit.levels), max(fit.levels)) if fit.levels else (math.nan, math.nan)
    return Verdict(
        prediction=prediction.name,
        quantity=str(prediction.quantity),
        axis=prediction.axis,
        theory_exponent=prediction.exponent,
        kind=str(prediction.kind),
        exponent=fit.exponent,
        ci_low=fit.ci[0],
        ci_high=fit.ci[1],
        level=fit.level,
        seeds=fit.seeds,
        points=fit.points,
        range=ends,
        local_slopes=fit.local_slopes,
        fit={
            "form": "A x^-b" if fit.offset_fit is None else "A x^-b + c",
            "method": str(fit.method),
            "status": str(fit.status),
            "message": fit.message,
            "amplitude": fit.amplitude,
            "offset": fit.offset,
            "trials": fit.trials,
            "range_decades": fit.range_decades,
            "curvature": None if fit.curvature is None else asdict(fit.curvature),
            "holdout": None if fit.holdout is None else asdict(fit.holdout),
            "log_bias": fit.log_bias,
        },
        verdict=word,
        reason=reason,
        source=prediction.source,
        statement=prediction.statement,
        margin=prediction.margin,
    )


def _decide(prediction: Prediction, fit: PowerLawFit) -> tuple[Word, str]:
    zero = prediction.kind is Kind.SHARP and prediction.exponent == 0
    if not math.isfinite(prediction.exponent):
        return Word.UNDETERMINED, "the theory's exponent needs kernel data that were not given"
    if fit.status is not FitStatus.OK and not (zero and fit.spread is not None):
        return Word.UNDETERMINED, fit.message
    short = _short_range(fit, zero)
    if short:
        return Word.UNDETERMINED, short
    if zero:
        return _decide_zero(prediction, fit)
    if not np.isfinite(fit.ci).all():
        return Word.UNDETERMINED, fit.message or "the data do not bound the exponent"
    word = _word(prediction, *fit.ci)
    shown = f"b = {fit.exponent:.3g} [{fit.ci[0]:.3g}, {fit.ci[1]:.3g}]"
    if word is Word.UNDETERMINED:
        return word, f"{shown} {_against(prediction)}; {_settle(prediction, fit)}"
    drift = _drift(prediction, fit, word)
    if drift:
        return Word.UNDETERMINED, f"{shown}, but {drift}"
    return word, f"{shown} {_against(prediction)}"


def _short_range(fit: PowerLawFit, zero: bool) -> str:
    levels = MINIMUM_LEVELS_OF_ZERO if zero else MINIMUM_LEVELS
    decades = MINIMUM_DECADES_OF_ZERO if zero else MINIMUM_DECADES
    wants = []
    if fit.points < levels:
        wants.append(f"{levels - fit.points} more values of the axis ({levels} at least)")
    if fit.range_decades < decades:
        reach = min(fit.levels) * 10**decades if fit.levels else math.nan
        wants.append(
            f"values up to {reach:.4g} at least ({decades:.2g} decades; now "
            f"{fit.range_decades:.2g})"
        )
    return f"the range is too short: add {' and '.join(wants)}" if wants else ""


def _zone(prediction: Prediction) -> tuple[float, float]:
    """The exponents that count as the theory's: beta +- margin |beta|."""
    beta, reach = prediction.exponent, prediction.margin * abs(prediction.exponent)
    return beta - reach, beta + reach


def _word(prediction: Prediction, low: float, high: float) -> Word:
    """Rule 3 for an interval [low, high]."""
    start, stop = _zone(prediction)
    if prediction.kind is Kind.QUALITATIVE:
        cut = (1 - prediction.margin) * prediction.threshold
        if high < cut:
            return Word.AGREES
        return Word.DISAGREES if low > cut else Word.UNDETERMINED
    if prediction.kind is Kind.SHARP:
        if start <= low and high <= stop:
            return Word.AGREES
        return Word.DISAGREES if high < start or low > stop else Word.UNDETERMINED
    if low > prediction.exponent:
        return Word.FASTER
    if high < prediction.exponent:
        return Word.VIOLATES
    return Word.CONSISTENT if low >= start else Word.UNDETERMINED


def _against(prediction: Prediction) -> str:
    start, stop = _zone(prediction)
    if prediction.kind is Kind.QUALITATIVE:
        cut = (1 - prediction.margin) * prediction.threshold
        return f"against {cut:.3g} (the exponent of best stopping less {prediction.margin:.0%})"
    if prediction.kind is Kind.SHARP:
        return f"against {prediction.exponent:.3g} within [{start:.3g}, {stop:.3g}]"
    return f"against the bound {prediction.exponent:.3g}"


def _drift(prediction: Prediction, fit: PowerLawFit, word: Word) -> str:
    """Rule 4: why the curve's drift forbids `word`; empty when it does not."""
    bend, end, forecast = fit.curvature, fit.end_slope, fit.forecast_slope
    if bend is None or end is None or forecast is None:
        return ""
    more = f"no single exponent is reached yet: extend the range beyond {end.high:g}"
    if bend.p_value < DRIFT_P:
        share = 1 - (1 - fit.level) / len(fit.local_slopes)
        ends = [s.interval(share) for s in fit.local_slopes] + [forecast.interval(fit.level)]
        same_side = len({low > prediction.exponent for low, _ in ends}) == 1
        if {_word(prediction, *pair) for pair in ends} == {word} and (
            same_side or word is not Word.DISAGREES
        ):
            return ""
        first, last = fit.local_slopes[0].exponent, fit.local_slopes[-1].exponent
        return (
            f"the local exponent drifts from {first:.3g} to {last:.3g} over the range (curvature "
            f"p = {bend.p_value:.2g}): {more}"
        )
    low, high = end.interval(END_LEVEL)
    at_end = _word(prediction, low, high)
    if at_end is word or (word in _OPPOSITE and at_end is not _OPPOSITE[word]):
        return ""
    return (
        f"at the largest value alone the exponent is {end.exponent:.3g} [{low:.3g}, {high:.3g}], "
        f"which does not confirm it: {more}"
    )


def _decide_zero(prediction: Prediction, fit: PowerLawFit) -> tuple[Word, str]:
    change = fit.spread
    if change is None:
        return Word.UNDETERMINED, fit.message
    cut = math.log1p(prediction.margin)
    low, high, middle = (math.expm1(v) for v in (change.low, change.high, change.estimate))
    told = (
        f"level means differ from their mean by at most {middle:.2%} [{low:.2%}, {high:.2%}], "
        f"against a margin of {prediction.margin:.0%}"
    )
    if change.high <= cut:
        return Word.AGREES, told
    if change.low > cut:
        return Word.DISAGREES, told
    more = math.ceil(
        fit.seeds * ((change.high - change.estimate) / abs(cut - change.estimate)) ** 2
    )
    return Word.UNDETERMINED, f"{told}; about {max(more, fit.seeds + 1)} seeds would settle it"


def _settle(prediction: Prediction, fit: PowerLawFit) -> str:
    """How many seeds, or how long a range, would make the interval short enough."""
    start, stop = _zone(prediction)
    if prediction.kind is Kind.QUALITATIVE:
        edges = [(1 - prediction.margin) * prediction.threshold]
    elif prediction.kind is Kind.SHARP:
        edges = [start, stop]
    else:
        edges = [prediction.exponent] if fit.exponent < start else [start, prediction.exponent]
    half = (fit.ci[1] - fit.ci[0]) / 2
    if prediction.kind is Kind.BOUND and fit.exponent >= start:
        room = max(fit.exponent - edge for edge in edges)
    else:
        room = min(abs(fit.exponent - edge) for edge in edges)
    if room <= 0:
        return "the estimate stands at the edge: more seeds, and a longer range"
    seeds = math.ceil(max(fit.seeds, 1) * (half / room) ** 2)
    decades = fit.range_decades * (half / room) ** (2 / 3)
    return (
        f"about {max(seeds, fit.seeds + 1)} seeds per level (now {fit.seeds}), or a range of "
        f"{decades:.2g} decades (now {fit.range_decades:.2g}), would settle it"
    )


# --- from a results table -----------------------------------------------------------------------


def usable(curve: Curve) -> tuple[Curve, str]:
    """The curve without the levels that selection spoils, and a note of what was left out.

    A level where a value is censored, or where a trial diverged, is left out whole: its remaining
    trials are a selected sample. Failed trials and missing values carry no such choice: they are
    left out one by one, and counted.
    """
    censored = set(curve.x[curve.censored].tolist())
    diverged = set(curve.diverged)
    keep = ~np.isin(curve.x, sorted(censored | diverged))
    notes = []
    if censored:
        notes.append(
            f"{int(curve.censored.sum())} trials have no best step inside their recorded steps: "
            f"{curve.axis} = {_list(censored)} left out (train with more steps)"
        )
    if diverged:
        notes.append(
            f"{len(curve.diverged)} trials diverged: {curve.axis} = {_list(diverged)} left out"
        )
    if curve.failed:
        notes.append(f"{len(curve.failed)} trials failed and are left out")
    if curve.missing:
        notes.append(f"{len(curve.missing)} trials have no value and are left out")
    kept = replace(
        curve,
        x=curve.x[keep],
        y=curve.y[keep],
        seed=curve.seed[keep],
        censored=curve.censored[keep],
    )
    return kept, "; ".join(notes)


def _list(values: set[float]) -> str:
    return ", ".join(f"{v:g}" for v in sorted(values))


def fit_curve(curve: Curve, offset: bool = False, level: float = 0.95) -> PowerLawFit:
    """`fit_power_law` of the usable part of a curve; seeds link levels where they share data."""
    kept, _note = usable(curve)
    seed = kept.seed if kept.linked else None
    return fit_power_law(kept.x, kept.y, seed, offset, level)


def evaluate(
    frame: pd.DataFrame, level: float = 0.95, extra: Sequence[Prediction] = ()
) -> list[Verdict]:
    """Every prediction that applies, judged on every curve of the results table.

    `extra`: predictions of the user's own, judged beside the registry's. Intervals adjusted for
    the number K of verdicts (Bonferroni: each at level 1 - (1 - level)/K, so that all hold
    together) stand next to the plain ones; the reason says where they would change the verdict.
    """
    found: list[tuple[Prediction, PowerLawFit, Verdict]] = []
    for curve in curves(frame):
        conditions = {**curve.fixed, "effective_time": curve.effective_time}
        for prediction in [*predictions(curve.dimension), *extra]:
            same = (prediction.quantity, prediction.axis) == (curve.quantity, curve.axis)
            if not same or not prediction.applies(conditions):
                continue
            fit = fit_curve(curve, level=level)
            verdict = judge(prediction, fit)
            note = usable(curve)[1]
            fixed = {**curve.fixed}
            if curve.effective_time is not None:
                fixed["effective_time"] = curve.effective_time
            found.append(
                (
                    prediction,
                    fit,
                    replace(
                        verdict,
                        reason="; ".join(filter(None, [verdict.reason, note])),
                        law=curve.law,
                        law_id=curve.law_id,
                        dimension=curve.dimension,
                        fixed=fixed,
                    ),
                )
            )
    share = 1 - (1 - level) / max(len(found), 1)
    return [_adjusted(*entry, share) for entry in found]


def _adjusted(prediction: Prediction, fit: PowerLawFit, verdict: Verdict, share: float) -> Verdict:
    low, high = fit.interval(share)
    reason = verdict.reason
    if fit.ok and prediction.exponent != 0 and verdict.verdict is not Word.UNDETERMINED:
        word = _word(prediction, low, high)
        if word != verdict.verdict:
            reason += f"; with the interval adjusted for all verdicts together: {word}"
    return replace(verdict, adjusted_low=low, adjusted_high=high, reason=reason)
