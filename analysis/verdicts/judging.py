"""A prediction judged on a fit, and on a curve.

The rules of a verdict are in `rules`. Here: what a verdict carries (`Verdict`, an entry of
verdicts.json), and which trials a curve may use (`usable`). `evaluation` judges a whole table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import OF_DIVERGENCE, OF_THE_KERNEL, SAMPLED, Quantity
from analysis.data.curves.trajectories import INTERPOLATED
from analysis.data.sweeps import PLAIN, held, sizes
from analysis.fits.asymptotic import Asymptotic
from analysis.fits.diagnostics import LocalSlope
from analysis.fits.growth import Growth
from analysis.fits.power_law import PowerLawFit, fit_power_law
from analysis.levels.intervals import alone
from analysis.text import counted, percent
from analysis.theory import Kind, Prediction
from analysis.theory.prediction import LIMITED
from analysis.theory.source_capacity import SOURCE_CAPACITY
from analysis.verdicts.assumed import Finding
from analysis.verdicts.infinite_width import InfiniteWidth
from analysis.verdicts.rules import Word, decide

__all__ = ["Verdict", "Word", "fit_curve", "judge", "levels_listed", "usable"]


@dataclass(frozen=True)
class Draw:
    """The rate of one draw of a law, with its label; NaN where it was refused."""

    law: str
    law_id: str
    exponent: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Verdict:
    """One prediction judged on one curve; `to_dict` is an entry of verdicts.json.

    threshold: for `ceiling`, what the quantity must not pass; for `qualitative`, what the exponent
    must stay below. draws: the rates of the draws of a law that the verdict is over, where it is.
    fitted: the fit that was judged, made of the usable part of curve, which is None where a fit was
    judged alone. follows: the verdict of which this one is a consequence, None where it stands on
    its own curve. `to_dict` and the printed form leave them out; fit has the fit's numbers.
    """

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
    fitted: PowerLawFit = field(repr=False, compare=False)
    verdict: Word
    reason: str
    source: str
    statement: str = ""
    margin: float = math.nan
    threshold: float = math.nan
    law: str = ""
    law_id: str = ""
    dimension: int = 0
    fixed: Mapping[str, Any] = field(default_factory=dict)
    adjusted_low: float = math.nan
    adjusted_high: float = math.nan
    adjusted_level: float = math.nan
    adjusted_verdict: str = ""
    infinite_width: InfiniteWidth | None = None
    theory: str = ""
    theory_key: str = ""
    assumptions: tuple[Finding, ...] = ()
    draws: tuple[Draw, ...] = ()
    curve: Curve | None = field(default=None, repr=False, compare=False)
    follows: Verdict | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        at = f", {self.law}, d = {self.dimension}" if self.law else ""
        at += f", {self.held}" if self.held else ""
        value, low, high = self.measured
        name = "largest" if self.kind == Kind.CEILING else "b"
        measured = f"{name} = {value:.3g} [{low:.3g}, {high:.3g}]"
        theory = f"theory {self.relation}{self.said:.3g}"
        return f"Verdict({self.prediction}{at}: {measured}, {theory}: {self.verdict})"

    @property
    def own(self) -> str:
        """The name of a prediction of the user's own; empty of theory's."""
        return "" if self.theory_key else self.prediction

    @property
    def by(self) -> str:
        """`, by spectrum and coefficients` of a network's rate that the kernel's foretells, beside
        which the same quantity has a bound; else empty."""
        return f", by {self.theory}" if by_kernel(self.theory_key, self.quantity) else ""

    @property
    def held(self) -> str:
        """What of N, m and eta its curve holds fixed: `m = 256, η = 2`; `m = 4 N` where m grows."""
        return held(sizes(self.fixed))

    @property
    def relation(self) -> str:
        """What theory says of `measured`, in front of the number `said`; empty where it is it."""
        return {"bound": "≥ ", "qualitative": "below ", "ceiling": "at most "}.get(self.kind, "")

    @property
    def said(self) -> float:
        """Theory's number: an exponent, or the threshold that `measured` must not pass."""
        return self.threshold if self.kind in LIMITED else self.theory_exponent

    @property
    def measured(self) -> tuple[float, float, float]:
        """What theory speaks of with its interval: the exponent, of a ceiling the largest mean of a
        level."""
        if self.kind != Kind.CEILING:
            return self.exponent, self.ci_low, self.ci_high
        top = self.fitted.peak_at(self.level)
        return (math.nan,) * 3 if top is None else (top.estimate, top.low, top.high)

    @property
    def adjusted(self) -> tuple[float, float]:
        """The interval of `measured`, adjusted for all verdicts together."""
        top = self.fitted.peak_at(self.adjusted_level) if self.kind == Kind.CEILING else None
        return (self.adjusted_low, self.adjusted_high) if top is None else (top.low, top.high)

    @property
    def at_large(self) -> Asymptotic | None:
        """The limits of the exponent at large values by which the verdict was reached; None where
        they are not known, or not asked for."""
        if self.kind == Kind.CEILING:
            return None
        return (self.follows or self).fitted.asymptotic

    def to_dict(self) -> dict[str, Any]:
        """JSON data: NaN and infinities become null. The law of growth is in fit.form; follows is
        the prediction, of the same curve's trials, of whose verdict this one is a consequence."""
        names = [f.name for f in fields(self) if f.name not in ("fitted", "curve", "follows")]
        plain: dict[str, Any] = plain_json({name: getattr(self, name) for name in names})
        plain["follows"] = None if self.follows is None else self.follows.prediction
        return plain


def by_kernel(theory_key: str, quantity: str) -> bool:
    """Whether a prediction is of a network's rate that the kernel's spectrum foretells."""
    return theory_key == SOURCE_CAPACITY.key and quantity not in OF_THE_KERNEL


def plain_json(value: Any) -> Any:
    """`value` as JSON data: dataclasses and mappings as objects, NaN and infinities as null, but an
    infinite width, which is a setting and no missing number, as "inf"."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        limit = [k for k, v in value.items() if k == "width" and v == math.inf]
        return {str(k): "inf" if k in limit else plain_json(v) for k, v in value.items()}
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
            "asymptotic": None if fit.asymptotic is None else fit.asymptotic.to_dict(),
            "log_bias": fit.log_bias,
            "test_set": None if fit.test_set is None else asdict(fit.test_set),
            "two_levels": None if fit.two_levels is None else asdict(fit.two_levels),
        },
        fitted=fit,
        verdict=word,
        reason=reason,
        source=prediction.source,
        statement=prediction.statement,
        margin=prediction.margin,
        threshold=prediction.threshold,
        theory=prediction.theory,
        theory_key=prediction.theory_key,
    )


# --- on a curve -----------------------------------------------------------------------------------


_CENSORED: dict[str, str] = {
    Quantity.FINAL_ERROR: f"with a last training loss above {percent(INTERPOLATED)} of the noise "
    "level, which says nothing of descent that is never stopped",
    Quantity.GENERALIZATION_TIME: "whose error still falls at the last step",
    Quantity.MEMORIZATION_TIME: "not memorized by the last step",
    Quantity.MEMORIZATION_RATIO: "not memorized by the last step",
    **dict.fromkeys(SAMPLED, "whose samples are as near to the law as exact draws"),
    **dict.fromkeys(
        OF_DIVERGENCE,
        "whose divergence is not above what its estimate gives for exact draws, so that nothing "
        "says how small it is",
    ),
}
"""What censored trials of a quantity are."""

_BEST = (
    Quantity.BEST_ERROR,
    Quantity.BEST_ERROR_ASSESSED,
    Quantity.BEST_ERROR_UNWEIGHTED,
    Quantity.BEST_TIME,
    Quantity.GENERALIZATION_TIME,
    Quantity.MEMORIZATION_TIME,
    Quantity.MEMORIZATION_RATIO,
)
_REMEDY = "train with more steps, or with a smaller step size where the first one is the best"


def usable(curve: Curve) -> tuple[Curve, str]:
    """The curve without the levels that selection spoils, and a note of what was left out.

    A level that censored values spoil, or where a trial diverged, is left out whole: its remaining
    trials are a selected sample. Failed trials and missing values carry no such choice: they are
    left out one by one, and counted. Where seeds link levels, one with a single seed is left out
    beside others with more (`analysis.levels.intervals.alone`). See `evaluation` for what censored
    levels can still say.
    """
    spoilt = set(curve.spoilt.tolist())
    kept = curve.censored & ~np.isin(curve.x, sorted(spoilt))
    diverged = set(curve.diverged)
    axis = PLAIN.get(curve.axis, curve.axis)
    notes = []
    what = _CENSORED.get(curve.quantity, "without a best step inside the recorded ones")
    if spoilt:
        every = spoilt.issuperset(curve.x.tolist())
        levels = f"every {axis}" if every else f"{axis} = {levels_listed(spoilt)}"
        count = _trials((curve.censored & ~kept).sum())
        remedy = "draw more samples" if curve.quantity in SAMPLED else _REMEDY
        notes.append(f"{count} {what}: {levels} left out ({remedy})")
    if kept.any():
        levels = f"{axis} = {levels_listed(set(curve.x[kept].tolist()))}"
        count = _trials(kept.sum())
        least = "what exact draws reach" if curve.quantity in OF_DIVERGENCE else "recorded"
        notes.append(f"{count} {what}: so few of {levels} that they count as {least}")
    if diverged:
        notes.append(
            f"{_trials(len(curve.diverged))} diverged: {axis} = {levels_listed(diverged)} left out"
        )
    if curve.failed:
        notes.append(f"{_trials(len(curve.failed))} failed, left out")
    if curve.draws and curve.missing:
        lost = levels_listed(set(curve.missing))
        notes.append(f"{axis} = {lost} left out: not every draw of the law has a value there")
    elif curve.missing:
        notes.append(f"{_trials(len(curve.missing))} without a value, left out")
    for draw in curve.left_out:
        why = usable(draw)[1]
        notes.append(
            f"the draw {draw.law} left out, with too few values" + (f" ({why})" if why else "")
        )
    if curve.short and curve.quantity in _BEST:
        notes.append(
            f"at {axis} = {levels_listed(set(curve.short))} the kernel limit on the same data is "
            "best beyond the last step: more steps may find a lower error"
        )
    usable_ones = curve.only(~np.isin(curve.x, sorted(spoilt | diverged)))
    if usable_ones.linked:
        lone = alone(usable_ones.x, usable_ones.seed)
        if lone.any() and not lone.all():
            notes.append(
                f"{axis} = {levels_listed(set(usable_ones.x[lone].tolist()))} left out: one seed "
                f"there, and seeds link the values of {axis}; 2 at least are needed"
            )
            usable_ones = usable_ones.only(~lone)
    return usable_ones, "; ".join(notes)


def selected(curve: Curve) -> bool:
    """Whether the draws of a law that a curve pools are a selected sample: one was left out for
    what its trials did, which diverged or did not come to their value, as a slow one does."""
    return any(draw.diverged or len(draw.spoilt) for draw in curve.left_out)


def _trials(count: int) -> str:
    return counted(count, "trial")


def levels_listed(values: Iterable[float]) -> str:
    """Distinct values of an axis in words: `64, 128`."""
    return ", ".join(f"{v:g}" for v in sorted(values))


def fit_curve(curve: Curve, level: float = 0.95, growth: Growth | None = None) -> PowerLawFit:
    """`fit_power_law` of the usable part of a curve; seeds link levels where they share data, and
    the kernel limit sharpens the level means where it stands beside them."""
    kept, _note = usable(curve)
    seed = kept.seed if kept.linked else None
    return fit_power_law(
        kept.x,
        kept.y,
        seed,
        level=level,
        growth=growth,
        without=kept.without,
        control=kept.control,
        geometric=kept.geometric,
    )
