"""Predictions judged on fits, and a whole results table judged at once.

The rules of a verdict are in `rules`. Here: what a verdict carries (`Verdict`, an entry of
verdicts.json), which trials a curve may use (`usable`), and the adjustment for many verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.audit import audit_curves, exponents_for
from analysis.data.quantities import INTERPOLATED, Curve, curves, trials
from analysis.data.quantity import Quantity
from analysis.data.sweeps import PLAIN
from analysis.data.table import Table
from analysis.fits.diagnostics import LocalSlope
from analysis.fits.growth import POWER, Growth
from analysis.fits.multiplicity import adjusted_level
from analysis.fits.power_law import PowerLawFit, fit_power_law
from analysis.text import counted, percent
from analysis.theory.registry import Kind, Prediction, predictions
from analysis.verdicts.infinite_width import InfiniteWidth, infinite_width
from analysis.verdicts.rules import Word, decide, word_at

__all__ = ["Verdict", "Word", "evaluate", "fit_curve", "judge", "usable"]

_BEST_ERRORS = {
    Quantity.BEST_ERROR,
    Quantity.BEST_ERROR_ASSESSED,
    Quantity.BEST_ERROR_UNWEIGHTED,
    Quantity.KERNEL_BEST_ERROR,
}

LEAST_POINTS = 100
"""Effective number of test points below which nothing is judged: a few of them decide the mean."""


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
    adjusted_level: float = math.nan
    adjusted_verdict: str = ""
    growth: Growth = POWER
    infinite_width: InfiniteWidth | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON data: NaN and infinities become null. The law of growth is in fit.form."""
        plain: dict[str, Any] = plain_json({k: v for k, v in asdict(self).items() if k != "growth"})
        return plain


def plain_json(value: Any) -> Any:
    """`value` as JSON data: dataclasses and mappings as objects, NaN and infinities as null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(k): plain_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value


def judge(prediction: Prediction, fit: PowerLawFit) -> Verdict:
    """The verdict of `fit` on `prediction`, by the rules of `analysis.verdicts.rules`."""
    word, reason = decide(prediction, fit)
    if fit.ok and fit.message and fit.message not in reason:
        reason = f"{reason}; {fit.message}"
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
            "form": fit.growth.form,
            "method": str(fit.method),
            "status": str(fit.status),
            "message": fit.message,
            "amplitude": fit.amplitude,
            "offset": fit.offset,
            "trials": fit.trials,
            "range_decades": fit.range_decades,
            "curvature": None if fit.curvature is None else asdict(fit.curvature),
            "misfit": None if fit.misfit is None else asdict(fit.misfit),
            "holdout": None if fit.holdout is None else asdict(fit.holdout),
            "log_bias": fit.log_bias,
            "test_set": None if fit.test_set is None else asdict(fit.test_set),
        },
        verdict=word,
        reason=reason,
        source=prediction.source,
        statement=prediction.statement,
        margin=prediction.margin,
        growth=fit.growth,
    )


# --- from a results table -----------------------------------------------------------------------


def usable(curve: Curve) -> tuple[Curve, str]:
    """The curve without the levels that selection spoils, and a note of what was left out.

    A level where a value is censored, or where a trial diverged, is left out whole: its remaining
    trials are a selected sample. Failed trials and missing values carry no such choice: they are
    left out one by one, and counted. See `_still_falling` for what censored levels can still say.
    """
    censored = set(curve.x[curve.censored].tolist())
    diverged = set(curve.diverged)
    axis = PLAIN.get(curve.axis, curve.axis)
    notes = []
    if censored:
        what = (
            f"with a last training loss above {percent(INTERPOLATED)} of the noise level, which "
            "says nothing of descent that is never stopped"
            if curve.quantity == Quantity.FINAL_ERROR
            else "without a best step inside the recorded ones"
        )
        every = censored.issuperset(curve.x.tolist())
        where = f"every {axis} left out" if every else f"{axis} = {_list(censored)} left out"
        notes.append(f"{_trials(curve.censored.sum())} {what}: {where} (train with more steps)")
    if diverged:
        notes.append(
            f"{_trials(len(curve.diverged))} diverged: {axis} = {_list(diverged)} left out"
        )
    if curve.failed:
        notes.append(f"{_trials(len(curve.failed))} failed, left out")
    if curve.missing:
        notes.append(f"{_trials(len(curve.missing))} without a value, left out")
    return _without(curve, censored | diverged), "; ".join(notes)


def _without(curve: Curve, levels: set[float]) -> Curve:
    keep = ~np.isin(curve.x, sorted(levels))
    return replace(
        curve,
        x=curve.x[keep],
        y=curve.y[keep],
        seed=curve.seed[keep],
        censored=curve.censored[keep],
        without=None if curve.without is None else curve.without[keep],
    )


def _trials(count: int) -> str:
    return counted(count, "trial")


def _list(values: Iterable[float]) -> str:
    return ", ".join(f"{v:g}" for v in sorted(values))


def fit_curve(curve: Curve, level: float = 0.95, growth: Growth | None = None) -> PowerLawFit:
    """`fit_power_law` of the usable part of a curve; seeds link levels where they share data."""
    kept, _note = usable(curve)
    seed = kept.seed if kept.linked else None
    return fit_power_law(kept.x, kept.y, seed, level=level, growth=growth, without=kept.without)


def evaluate(
    frame: pd.DataFrame | Table,
    level: float = 0.95,
    extra: Sequence[Prediction] = (),
    audit: pd.DataFrame | None = None,
) -> list[Verdict]:
    """Every prediction that applies, judged on every curve of the results table.

    `extra`: predictions of the user's own, judged beside the registry's. `audit`: as `load_audit`
    gives it: its curves are judged too, and its b and s predict the kernel's exponent. Intervals
    adjusted for the number of verdicts (false coverage rate 1 - level among those decided; see
    `multiplicity`) stand next to the plain ones, with the verdicts that they give; the reason says
    where those differ.
    """
    every = [*curves(frame), *audit_curves(audit)]
    found = []
    for curve in every:
        for prediction in [*predictions(curve.dimension, *exponents_for(audit, curve)), *extra]:
            if (prediction.quantity, prediction.axis) == (
                curve.quantity,
                curve.axis,
            ) and prediction.applies({**curve.fixed, "effective_time": curve.effective_time}):
                fit = fit_curve(curve, level, prediction.growth)
                curve_used, fit, verdict = _still_falling(prediction, curve, fit)
                found.append((prediction, curve_used, fit, _measured(curve, verdict)))
    share = adjusted_level(
        [
            partial(_decided_at, prediction, fit, verdict)
            for prediction, _curve, fit, verdict in found
        ],
        level,
    )
    judged = [_on_curve(*entry, every, share) for entry in found]
    return _with_infinite_width(judged, frame, every, level)


def _decided_at(prediction: Prediction, fit: PowerLawFit, verdict: Verdict, level: float) -> bool:
    return _word_at(prediction, fit, verdict, level) is not Word.UNDETERMINED


def _word_at(prediction: Prediction, fit: PowerLawFit, verdict: Verdict, level: float) -> Word:
    """The verdict by intervals at `level`; range and drift forbid it as at the plain one."""
    undecided = verdict.verdict is Word.UNDETERMINED
    return Word.UNDETERMINED if undecided else word_at(prediction, fit, level)


def _with_infinite_width(
    verdicts: Sequence[Verdict], frame: pd.DataFrame | Table, every: Sequence[Curve], level: float
) -> list[Verdict]:
    """Verdicts on the best error over N get the rate at infinite width beside the plain one."""
    rates: dict[tuple[str, str], InfiniteWidth | None] = {}
    table = None
    for curve in every:
        if (curve.quantity, curve.axis) == (Quantity.BEST_ERROR, "samples"):
            table = table or trials(frame)
            rates[_key(curve)] = infinite_width(table, curve, level)
    wanted = (str(Quantity.BEST_ERROR), "samples")
    return [
        replace(v, infinite_width=rates.get(_key(v)))
        if (v.quantity, v.axis) == wanted and v.growth == POWER
        else v
        for v in verdicts
    ]


def _key(entry: Curve | Verdict) -> tuple[str, str]:
    fixed = {k: v for k, v in entry.fixed.items() if k != "effective_time"}
    return entry.law_id, repr(sorted(fixed.items(), key=lambda item: item[0]))


def _on_curve(
    prediction: Prediction,
    curve: Curve,
    fit: PowerLawFit,
    verdict: Verdict,
    every: Sequence[Curve],
    share: float,
) -> Verdict:
    low, high = fit.interval(share)
    note = usable(curve)[1]
    # with every level left out, why they were is the whole reason
    reasons = [] if note and not fit.points else [verdict.reason]
    word = _word_at(prediction, fit, verdict, share)
    if word is not verdict.verdict:
        reasons.append(f"with the interval adjusted for all verdicts together: {word}")
    reasons += [_assessed(prediction, curve, verdict, every), note]
    fixed = dict(curve.fixed)
    if curve.effective_time is not None:
        fixed["effective_time"] = curve.effective_time
    return replace(
        verdict,
        reason="; ".join(filter(None, reasons)),
        law=curve.law,
        law_id=curve.law_id,
        dimension=curve.dimension,
        fixed=fixed,
        adjusted_low=low,
        adjusted_high=high,
        adjusted_level=share,
        adjusted_verdict=str(word),
    )


def _still_falling(
    prediction: Prediction, curve: Curve, fit: PowerLawFit
) -> tuple[Curve, PowerLawFit, Verdict]:
    """What a bound on a best error can still learn from censored levels, where the rest are too
    few: the error recorded is no less than the best one, so above the middle of the range it makes
    the exponent smaller. `faster` and `consistent` then hold all the more; nothing else does.
    Returns the curve, fit and verdict to report."""
    verdict = judge(prediction, fit)
    lowest = float(np.log(curve.x[curve.censored]).min()) if curve.censored.any() else -np.inf
    usable_here = (
        prediction.kind is Kind.BOUND
        and curve.quantity in _BEST_ERRORS
        and verdict.verdict is Word.UNDETERMINED
        and lowest > np.log(np.unique(curve.x)).mean()
    )
    if not usable_here:
        return curve, fit, verdict
    whole = replace(curve, censored=np.zeros_like(curve.censored))
    fit_of_whole = fit_curve(whole, fit.level, fit.growth)
    found = judge(prediction, fit_of_whole)
    if found.verdict not in (Word.FASTER, Word.CONSISTENT):
        return curve, fit, verdict
    told = (
        f"{found.reason}, even with {PLAIN.get(curve.axis, curve.axis)} = "
        f"{_list(set(curve.x[curve.censored].tolist()))}, "
        "where the best step was not reached and the error is still too large"
    )
    return whole, fit_of_whole, replace(found, reason=told)


def _measured(curve: Curve, verdict: Verdict) -> Verdict:
    """The verdict, or none where too few test points carry the quantity."""
    if not curve.effective_points < LEAST_POINTS:  # NaN, unknown, is no reason
        return verdict
    told = (
        f"the test set measures it with an effective {curve.effective_points:.0f} points, and "
        f"{LEAST_POINTS} are needed: raise test_points"
    )
    return replace(verdict, verdict=Word.UNDETERMINED, reason=told)


def _assessed(
    prediction: Prediction, curve: Curve, verdict: Verdict, every: Sequence[Curve]
) -> str:
    """Whether the verdict on the best error outlives choosing the step and reading the error on
    different halves of the test set."""
    if curve.quantity != Quantity.BEST_ERROR:
        return ""
    for other in every:
        same = (other.axis, other.law_id, other.fixed) == (curve.axis, curve.law_id, curve.fixed)
        if same and other.quantity == Quantity.BEST_ERROR_ASSESSED:
            fit = fit_curve(other, verdict.level, verdict.growth)
            word = judge(prediction, fit).verdict
            if word is verdict.verdict:
                return ""
            return (
                "with the step chosen on one half of the test set and the error read on the "
                f"other: {word} (b = {fit.exponent:.3g} [{fit.ci[0]:.3g}, {fit.ci[1]:.3g}])"
            )
    return ""
