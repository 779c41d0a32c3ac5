"""A whole results table judged at once: every prediction that applies, on every curve.

`Evaluation` is what verdicts.json, the report, the figures, MLflow and the command line read. Each
curve is fitted once for each law of growth, and a verdict carries its curve and its fit. What the
study cannot be asked stands beside the verdicts (`asking`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from statistics import fmean
from typing import overload

import numpy as np
import pandas as pd

from analysis.data.audit import (
    CONTINUED,
    SPECTRAL,
    Exponents,
    audit_beside,
    audit_curves,
    continuation,
    exponents_for,
    spectral_rates,
)
from analysis.data.curves.data_sets import data_curves
from analysis.data.curves.quantities import Curve, curves
from analysis.data.curves.quantity import OF_THE_KERNEL, Quantity
from analysis.data.curves.sampled import sampled_curves
from analysis.data.curves.trajectories import trials
from analysis.data.sweeps import PLAIN, descending, follows_kernel, usual_noise
from analysis.data.table import Table
from analysis.fits.growth import POWER, Growth
from analysis.fits.multiplicity import adjusted_level
from analysis.fits.power_law import PowerLawFit
from analysis.levels.intervals import Array
from analysis.theory import KEYS, Kind, Prediction, check_theories, predictions
from analysis.theory.prediction import NETWORK
from analysis.verdicts import draws
from analysis.verdicts.asking import NotAsked, needed, outside
from analysis.verdicts.assumed import Evidence, findings
from analysis.verdicts.following import Judged, followed
from analysis.verdicts.infinite_width import infinite_width, limit_of, measured
from analysis.verdicts.judging import Verdict, fit_curve, judge, levels_listed, selected, usable
from analysis.verdicts.own import Own, at, check_own, unanswered, unsaid
from analysis.verdicts.rules import LEAST_POINTS, Word, word_at
from analysis.verdicts.stops import RULES, check_rules, stops

_BEST_ERRORS = {
    Quantity.BEST_ERROR,
    Quantity.BEST_ERROR_ASSESSED,
    Quantity.BEST_ERROR_UNWEIGHTED,
    Quantity.KERNEL_BEST_ERROR,
}
_READ_AT_THEIR_LEAST = _BEST_ERRORS - {Quantity.BEST_ERROR_UNWEIGHTED}
"""The unweighted one is read at the step of the least weighted one, where it may rise or fall."""


FRAME_COLUMNS = (
    *("law", "dimension", "held", "prediction", "quantity", "axis", "kind"),
    *("theory", "exponent", "ci_low", "ci_high", "large_low", "large_high"),
    *("verdict", "adjusted_verdict", "theory_key", "reason"),
)
"""The columns of `Evaluation.to_frame`."""


@dataclass(frozen=True, eq=False)
class Evaluation(Sequence[Verdict]):
    """What a results table says: the sequence of its verdicts, and what they were made of.

    curves: of trials, of data sets, of samples, then of the audit; all of them, judged or not.
    audit: as `load_audit` gives it, None where there is none. level: of the intervals. stopping:
    the stopping rules to compare. not_asked: what the study cannot be asked. theories:
    the keys of those that were judged. own: the predictions of the user's own.
    """

    table: Table = field(repr=False)
    verdicts: tuple[Verdict, ...] = ()
    curves: tuple[Curve, ...] = field(default=(), repr=False)
    audit: pd.DataFrame | None = field(default=None, repr=False)
    level: float = 0.95
    stopping: tuple[str, ...] = RULES
    not_asked: tuple[NotAsked, ...] = ()
    theories: tuple[str, ...] = KEYS
    own: tuple[Own, ...] = field(default=(), repr=False)

    @classmethod
    def unjudged(cls, frame: pd.DataFrame | Table) -> Evaluation:
        """The curves of a table whose trials were chosen by their results: no rate is fitted."""
        table = Table.of(frame)
        return cls(table, curves=(*curves(table), *data_curves(table)))

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Verdict, ...]: ...
    def __getitem__(self, index: int | slice) -> Verdict | tuple[Verdict, ...]:
        return self.verdicts[index]

    def __len__(self) -> int:
        return len(self.verdicts)

    @property
    def unasked(self) -> tuple[Verdict, ...]:
        """The verdicts, `undetermined`, of what is not asked on a curve that there is."""
        return tuple(row.verdict for row in self.not_asked if row.verdict is not None)

    def to_frame(self) -> pd.DataFrame:
        """A row a verdict, in FRAME_COLUMNS: what of N, m and eta its curve holds fixed; theory's
        exponent b of error ~ axis^-b, or what b or the quantity must not pass, as the kind says;
        the exponent with its interval over the range, that at large values (NaN where it is not
        known), and what was decided."""
        rows = []
        for v in self:
            large = v.at_large
            rows.append(
                (
                    *(v.law, v.dimension, v.held, v.prediction, str(v.quantity), v.axis, v.kind),
                    *(v.said, v.exponent, v.ci_low, v.ci_high),
                    *((large.low, large.high) if large else (math.nan, math.nan)),
                    *(str(v.verdict), str(v.adjusted_verdict), v.theory_key, v.reason),
                )
            )
        return pd.DataFrame(rows, columns=list(FRAME_COLUMNS))

    def __repr__(self) -> str:
        return "\n".join(map(repr, self)) or "no verdicts"

    def _repr_html_(self) -> str:
        shown = self.to_frame().drop(columns=["quantity", "axis", "adjusted_verdict", "theory_key"])
        html: str = shown.to_html(index=False, float_format="{:.3g}".format, na_rep="", border=0)
        return html

    @cached_property
    def stops(self) -> pd.DataFrame:
        """Where each stopping rule stops each completed trial: see `analysis.verdicts.stops`."""
        return stops(self.table, self.stopping)


def evaluate(
    frame: pd.DataFrame | Table,
    level: float = 0.95,
    extra: Sequence[Own] = (),
    audit: pd.DataFrame | None = None,
    stopping: Sequence[str] | None = None,
    theories: Sequence[str] | None = None,
) -> Evaluation:
    """Every prediction that applies, judged on every curve of the results table.

    `extra`: predictions of the user's own, judged beside the registry's: each is a Prediction, the
    same in every dimension, or a function from d to one. `audit`: as `load_audit`
    gives it: its curves are judged too, and its spectrum predicts the kernel's exponent. A frame of
    `load_results` brings the audit that is stored beside its results. `stopping`: the stopping
    rules to compare with the oracle, default all. `theories`: the keys of those to judge, default
    all. Intervals adjusted for the number of verdicts
    (false coverage rate 1 - level among those decided; see `multiplicity`) stand next to the plain
    ones, with the verdicts that they give; the reason says where those differ.
    What a trainer does that no kernel is the limit of is not judged by the kernel's audit.
    What the design of the study forbids to judge, `extra` included, is in `not_asked`; so is what
    theory says of a class of targets that the audit finds the law's target outside of, and one of
    `extra` that no curve answers.

    Raises ValueError for a stopping rule or a theory that is none, for one of `extra` whose
    quantity or axis is none or whose name another prediction has, and ResultsError for an audit
    beside the results that cannot be read.
    """
    rules, keys = check_rules(stopping), check_theories(theories)
    check_own(extra)
    own_at = cache(lambda d: [at(one, d) for one in extra])
    if audit is None and isinstance(frame, pd.DataFrame):
        audit = audit_beside(frame)
    table = Table.of(frame)
    # most draws of a law have no audit, and finding one among all takes longer than a fit
    audits = {} if audit is None else {str(law): own for law, own in audit.groupby("law_id")}
    descend = descending(table.trials)
    fits = _Fits(level, audits, descend)
    own = set(table.trials.loc[follows_kernel(table.trials), "law_id"].astype(str))
    audited = (curve for curve in audit_curves(audit) if curve.law_id in own)
    single = (*curves(table), *data_curves(table), *sampled_curves(table), *audited)
    over_draws = draws.pooled(single, partial(fits.of, growth=None))
    pool_of = {id(curve): one for one in over_draws for curve in one.draws}
    every = (*over_draws, *single)
    arrays = cache(lambda: trials(table))
    found: list[tuple[Prediction, Verdict]] = []
    for curve in every:
        if curve.quantity in OF_THE_KERNEL and _holds(limit_of(curve, every), curve):
            continue  # judged on the limit's own curve, on the same data and more
        foretold = curve.quantity in (*SPECTRAL, *CONTINUED) and fits.follows(curve)
        fitted, summed = _of_the_audit(audits, curve) if foretold else _UNKNOWN
        known = predictions(curve.dimension, *fitted, summed, keys)
        pool = pool_of.get(id(curve))
        # what is judged over the draws of its law is not judged on one; what needs an audit may be
        # known of one draw alone, and what all together are too few levels for be asked of one
        over_all = {
            p.name
            for p, v in found
            if pool is not None
            and v.curve is pool
            and (not needed(p, pool, descend) or needed(p, curve, descend))
        }
        mine = own_at(curve.dimension)
        applied = (p for p in (*known, *mine) if _applies(p, curve, fits.network(curve)))
        chosen = [p for p in applied if p.name not in over_all]
        stopped_over_n = (curve.quantity, curve.axis) == (Quantity.BEST_ERROR, "samples")
        wide = infinite_width(arrays(), curve, level) if chosen and stopped_over_n else None
        limit = limit_of(curve, every) if chosen and stopped_over_n else None
        if limit is not None:
            wide = measured(fits.of(limit, None), wide)
        for prediction in chosen:
            verdict = _measured(curve, _judged(prediction, curve, fits))
            if verdict.fitted.growth == POWER:
                verdict = replace(verdict, infinite_width=wide)
            found.append((prediction, verdict))
    seen = Evidence(audit, every, lambda curve: fits.of(curve, None))
    asked, not_asked = _divided(followed(found), level, descend, seen)
    share = adjusted_level([partial(_decided_at, *entry) for entry in asked], level)
    verdicts = []
    for prediction, verdict in asked:
        assert verdict.curve is not None
        assessed = _assessed(prediction, verdict, every, fits)
        notes = [assessed, fits.unforetold(verdict)]
        told = _told(prediction, verdict, share, notes)
        each = draws.rates(verdict.curve, partial(fits.of, growth=None))
        verdicts.append(replace(told, draws=each))
    dimension = every[0].dimension if every else 1
    left = unanswered(own_at(dimension), (prediction.name for prediction, _verdict in found), every)
    never = {row.prediction for row in left}
    silent = unsaid(extra, sorted({curve.dimension for curve in every}))
    others = (*not_asked, *left, *(row for row in silent if row.prediction not in never))
    return Evaluation(
        table, tuple(verdicts), every, audit, level, rules, others, keys, tuple(extra)
    )


_UNKNOWN: tuple[Exponents, dict[Quantity, tuple[float, Growth]]] = ((None, None), {})


def _of_the_audit(
    audits: Mapping[str, pd.DataFrame], curve: Curve
) -> tuple[Exponents, dict[Quantity, tuple[float, Growth]]]:
    """Capacity and source, and the spectrum's rates, of a curve's setting: means over the draws of
    its law where it pools them, and nothing where one of them is unknown. audits: by law_id."""
    if not curve.draws:
        audit = audits.get(curve.law_id)
        return exponents_for(audit, curve), spectral_rates(audit, curve)
    known = [exponents_for(audits.get(one.law_id), one) for one in curve.draws]
    capacities = [b for b, _s in known if b is not None]
    sources = [s for _b, s in known if s is not None]
    complete = len(capacities) == len(sources) == len(known)
    fitted = (fmean(capacities), fmean(sources)) if complete else (None, None)
    rates = [spectral_rates(audits.get(one.law_id), replace(one, x=curve.x)) for one in curve.draws]
    shared = [q for q in rates[0] if all(q in rate for rate in rates)]
    return fitted, {q: _mean_rate([rate[q] for rate in rates]) for q in shared}


def _mean_rate(rates: Sequence[tuple[float, Growth]]) -> tuple[float, Growth]:
    """Of the geometric mean of the laws."""

    def factor(x: Array) -> Array:
        return np.asarray(np.exp(np.mean([np.log(growth.of(x)) for _b, growth in rates], axis=0)))

    return fmean(b for b, _growth in rates), Growth("g(x)", factor, within=True)


def _divided(
    found: Iterable[Judged], level: float, descend: Collection[str], seen: Evidence
) -> tuple[list[Judged], tuple[NotAsked, ...]]:
    """The verdicts with what was found of their assumptions, and what the study cannot be asked.
    Design and the law's audit alone tell them apart, no error of a trial, so those not asked count
    in no adjustment."""
    asked, others = [], []
    for prediction, verdict in found:
        assert verdict.curve is not None
        assumptions = findings(prediction, verdict.curve, seen)
        needs = needed(prediction, verdict.curve, descend) or outside(assumptions)
        verdict = replace(verdict, assumptions=assumptions)
        if not needs:
            asked.append((prediction, verdict))
            continue
        bare = replace(verdict, verdict=Word.UNDETERMINED, reason=f"not asked: needs {needs}")
        others.append(NotAsked(prediction.name, needs, _told(prediction, bare, level)))
    return asked, tuple(others)


class _Fits:
    """The fits of curves, each made once for each law of growth."""

    def __init__(
        self, level: float, audits: Mapping[str, pd.DataFrame], descend: Collection[str]
    ) -> None:
        self._level, self._audits, self._descend = level, audits, descend
        self._fits: dict[tuple[Curve, Growth], PowerLawFit] = {}
        self._whole: dict[Curve, Curve] = {}

    def of(self, curve: Curve, growth: Growth | None) -> PowerLawFit:
        """The fit of the usable part of the curve, with what the audit's spectrum knows of larger
        values where the trials follow the kernel."""
        key = curve, growth or POWER
        if key not in self._fits:
            fit = fit_curve(curve, self._level, growth)
            if key[1] == POWER and self.follows(curve):
                fit = replace(fit, continuation=continuation(self._audits, usable(curve)[0]))
            self._fits[key] = fit
        return self._fits[key]

    def follows(self, curve: Curve) -> bool:
        """Whether its trials follow kernel descent from 0, of which an audit's spectrum speaks."""
        return curve.fixed.get("width") == math.inf or self.network(curve)

    def network(self, curve: Curve) -> bool:
        """Whether its trials are of networks whose limit kernel descent from 0 is."""
        starts_at_0 = curve.fixed.get("initialisation") == "symmetric"
        return starts_at_0 and curve.fixed.get("trainer") in self._descend

    def unforetold(self, verdict: Verdict) -> str:
        """What limits at large N leave out where no spectrum says how the curve goes on; empty
        where one does, and of what has no such limits."""
        curve, seen = verdict.curve, verdict.fitted.asymptotic
        off = _BEYOND.get(Quantity(verdict.quantity))
        if curve is None or off is None or curve.axis != "samples":
            return ""
        if seen is None or seen.known is not None or verdict.follows is not None:
            return ""
        if verdict.fitted.continuation is not None:
            return f"{_WAVES} the kernel's spectrum does not describe this one"
        nothing = "nothing says"
        if self.follows(curve) and usual_noise(curve.fixed):
            laws = {one.law_id for one in curve.draws or (curve,)}
            short = not laws.isdisjoint(self._audits) and verdict.quantity in CONTINUED
            nothing = (
                "the audit's spectrum (`audit_points`) does not reach far enough to say"
                if short
                else "without a spectrum (`audit: true`) nothing says"
            )
        return (
            f"{_WAVES} {nothing} how this one goes on: beyond the range of those that were "
            f"audited b was up to {off:g} off"
        )

    def whole(self, curve: Curve) -> Curve:
        """The curve with its censored values taken as they are."""
        if curve not in self._whole:
            self._whole[curve] = replace(curve, censored=np.zeros_like(curve.censored))
        return self._whole[curve]


_WAVES = "learning curves have waves, and"
_BEYOND = {
    **dict.fromkeys(_BEST_ERRORS - {Quantity.KERNEL_BEST_ERROR}, 0.13),
    Quantity.BEST_TIME: 0.64,
}
"""By how much the exponent beyond N = 64 to 2048 differed from that over it, at most, by the
spectra of 24 laws (docs/theory.md, section 10)."""


def _holds(limit: Curve | None, curve: Curve) -> bool:
    """Whether the curve of the limit beside a curve has all of its levels."""
    return limit is not None and bool(np.isin(curve.x, limit.x).all())


def _applies(prediction: Prediction, curve: Curve, network: bool) -> bool:
    same = (prediction.quantity, prediction.axis) == (curve.quantity, curve.axis)
    measured = {"effective_time": curve.effective_time, NETWORK: network}
    return same and prediction.applies({**curve.fixed, **measured})


def _judged(prediction: Prediction, curve: Curve, fits: _Fits) -> Verdict:
    """The verdict on the usable part of a curve, or on the whole of it.

    What a bound on a best error can still learn from censored levels, where the rest are too few:
    the error recorded is no less than the best one, so above the middle of the range it makes the
    exponent smaller. `faster` and `consistent` then hold all the more; nothing else does. Not so of
    the unweighted error, which is not at its own least there.
    """
    verdict = replace(judge(prediction, fits.of(curve, prediction.growth)), curve=curve)
    spoilt = curve.spoilt.tolist()
    lowest = np.log(min(spoilt)) if spoilt else -np.inf
    still_falling = (
        prediction.kind is Kind.BOUND
        and curve.quantity in _READ_AT_THEIR_LEAST
        and verdict.verdict is Word.UNDETERMINED
        and lowest > np.log(np.unique(curve.x)).mean()
    )
    if not still_falling:
        return verdict
    whole = fits.whole(curve)
    on_whole = judge(prediction, fits.of(whole, prediction.growth))
    if on_whole.verdict not in (Word.FASTER, Word.CONSISTENT):
        return verdict
    told = (
        f"{on_whole.reason}, even with {PLAIN.get(curve.axis, curve.axis)} = "
        f"{levels_listed(spoilt)}, "
        "where the best step was not reached and the error is still too large"
    )
    return replace(on_whole, curve=whole, reason=told)


def _measured(curve: Curve, verdict: Verdict) -> Verdict:
    """The verdict, or none where too few test points carry the quantity, or the draws that are left
    were chosen by their results."""
    if selected(curve):
        told = "the draws that are left are those whose trials came to an end: a selected sample"
        return replace(verdict, verdict=Word.UNDETERMINED, reason=told)
    if not curve.effective_points < LEAST_POINTS:  # NaN, unknown, is no reason
        return verdict
    told = (
        f"the test set measures it with an effective {curve.effective_points:.0f} points, and "
        f"{LEAST_POINTS} are needed: raise test_points"
    )
    return replace(verdict, verdict=Word.UNDETERMINED, reason=told)


def _decided_at(prediction: Prediction, verdict: Verdict, level: float) -> bool:
    return _word_at(prediction, verdict, level) is not Word.UNDETERMINED


def _word_at(prediction: Prediction, verdict: Verdict, level: float) -> Word:
    """The verdict by intervals at `level`; range and drift forbid it as at the plain one."""
    if verdict.verdict is Word.UNDETERMINED:
        return Word.UNDETERMINED
    return word_at(prediction, (verdict.follows or verdict).fitted, level)


def _told(
    prediction: Prediction, verdict: Verdict, share: float, notes: Sequence[str] = ()
) -> Verdict:
    """The verdict with its curve's configuration, its interval at level `share`, and notes."""
    curve, fit = verdict.curve, verdict.fitted
    assert curve is not None
    low, high = fit.interval(share)
    note = usable(curve)[1]
    # with every level left out, why they were is the whole reason
    reasons = [] if note and not fit.points else [verdict.reason]
    if curve.draws:  # which are the seeds of its fit
        reasons = [reason.replace(" seeds per level", " draws of the law") for reason in reasons]
    word = _word_at(prediction, verdict, share)
    if word is not verdict.verdict:
        reasons.append(f"with the interval adjusted for all verdicts together: {word}")
    sharpened = "" if fit.two_levels is None else f"with {fit.two_levels.told}"
    reasons += [sharpened, *notes, note]
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


def _assessed(prediction: Prediction, verdict: Verdict, every: Sequence[Curve], fits: _Fits) -> str:
    """Whether the verdict on the best error outlives choosing the step and reading the error on
    different halves of the test set."""
    if verdict.quantity != Quantity.BEST_ERROR:
        return ""
    for other in _beside(verdict, every):
        if other.quantity == Quantity.BEST_ERROR_ASSESSED:
            fit = fits.of(other, prediction.growth)
            word = judge(prediction, fit).verdict
            if word is verdict.verdict:
                return ""
            return (
                "with the step chosen on one half of the test set and the error read on the "
                f"other: {word} (b = {fit.exponent:.3g} [{fit.ci[0]:.3g}, {fit.ci[1]:.3g}])"
            )
    return ""


def _beside(verdict: Verdict, every: Sequence[Curve]) -> Iterator[Curve]:
    """The curves of the verdict's own trials."""
    assert verdict.curve is not None
    return (other for other in every if other.same_trials(verdict.curve))
