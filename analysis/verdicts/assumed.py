"""Whether a theory's assumptions hold, as far as the audit and the trials say.

A finding belongs to one curve: its law, its diffusion, its step size, its networks. What was not
measured is said to be so, and counts neither way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from analysis.data.audit import audit_of, exponents_for, values_of
from analysis.data.curves.data_sets import beside
from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import Quantity
from analysis.data.sweeps import noise_label, usual_noise
from analysis.fits.power_law import PowerLawFit
from analysis.text import percent
from analysis.theory import MARGIN, Assumption, Prediction
from trainers.laws import LAWS
from trainers.laws.law import BOUNDED
from trainers.registry import DESCENT

SMALL = 0.1
"""Share of the score error up to which a network's distance from its kernel limit is small, and
share of an estimate up to which one clean point's part is."""


class Holds(StrEnum):
    """`yes`, `no`, or `not measured`."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "not measured"

    @classmethod
    def of(cls, truth: bool | np.bool_) -> Holds:
        return cls.YES if truth else cls.NO


@dataclass(frozen=True)
class Finding:
    """An assumption, whether it holds on a curve, and the numbers that say so."""

    name: str
    holds: Holds
    finding: str = ""


@dataclass(frozen=True)
class Evidence:
    """What findings are made of. every: all curves of the study; fit_of: the plain fit of one."""

    audit: pd.DataFrame | None
    every: Sequence[Curve]
    fit_of: Callable[[Curve], PowerLawFit]

    def own(self, curve: Curve) -> pd.DataFrame | None:
        """The audit of the curve's setting."""
        return audit_of(self.audit, {**curve.fixed, "law_id": curve.law_id})


def findings(prediction: Prediction, curve: Curve, seen: Evidence) -> tuple[Finding, ...]:
    """Each assumption of the prediction's theory, as found on the curve."""
    return tuple(_finding(name, curve, seen) for name in prediction.assumptions)


def _finding(name: Assumption, curve: Curve, seen: Evidence) -> Finding:
    if curve.draws:
        return _over_draws(name, [_finding(name, one, seen) for one in curve.draws])
    found = _FINDERS[name](curve, seen) if name in _FINDERS else None
    return Finding(str(name), Holds.UNKNOWN) if found is None else Finding(str(name), *found)


def _over_draws(name: Assumption, each: Sequence[Finding]) -> Finding:
    """What holds of every draw of the law, with the finding of the first draw of which it is so,
    and how many of the others were not looked at."""
    found = {finding.holds for finding in each}
    worst = next(holds for holds in (Holds.NO, Holds.UNKNOWN, Holds.YES) if holds in found)
    same = [finding for finding in each if finding.holds is worst]
    first = same[0].finding
    unknown = sum(finding.holds is Holds.UNKNOWN for finding in each)
    rest = f", {unknown} not measured" if unknown else ""
    told = f"{len(same)} of {len(each)} draws{rest}, the first: {first}" if first else ""
    return Finding(str(name), worst, told)


_Found = tuple[Holds, str] | None


def _support(curve: Curve, seen: Evidence) -> _Found:
    own = seen.own(curve)
    if own is None or not (own["quantity"] == "support_radius").any():
        bounded = _law_is(curve) == BOUNDED
        return (Holds.YES, "by its kind") if bounded else None
    radius = values_of(own, "support_radius")["value"]
    if radius.empty:
        return Holds.NO, f"infinite radius ({own['law'].iloc[0]})"
    return Holds.YES, f"radius {radius.iloc[0]:.3g}"


def _sub_gaussian(curve: Curve, _seen: Evidence) -> _Found:
    """By the kind of the law."""
    reason = _law_is(curve)
    return (Holds.YES, reason) if reason else None


def _law_is(curve: Curve) -> str:
    """Why the law is sub-Gaussian, of the inner one where it is embedded; empty where that is not
    known."""
    kind = curve.law.rpartition("/")[2].partition("[")[0]
    return LAWS[kind].sub_gaussian if kind in LAWS else ""


def _many_points(curve: Curve, seen: Evidence) -> _Found:
    """By the share that one clean point holds of the memorizer in the first bin of t: a density
    estimate's relative variance is that share. Against N theory speaks of large N alone."""
    share = beside(curve, seen.every, Quantity.MEMORIZER_SHARE)
    if share is None:
        return None
    of_levels = pd.Series(share.y).groupby(share.x).mean()
    worst = of_levels.iloc[-1] if curve.axis == "samples" else of_levels.max()
    at = f" at N = {of_levels.index[-1]:g}" if curve.axis == "samples" else " at most"
    told = f"one point holds {percent(worst, 2)} of the estimate{at}, and {percent(SMALL)} is small"
    return Holds.of(worst <= SMALL), told


def _lipschitz(curve: Curve, seen: Evidence) -> _Found:
    """f* is smooth for t >= T_0 > 0: the constant is what matters, and how it grows as t falls."""
    slopes = values_of(seen.own(curve), "lipschitz_x").groupby("x")["value"].max()
    t_min = curve.fixed.get("t_min")
    if slopes.empty or t_min is None:
        return None
    at = min(slopes.index, key=lambda t: abs(np.log(t / t_min)))
    return Holds.YES, f"constant at least {slopes[at]:.3g} in x, at t = {at:.3g}"


def _no_smoother(curve: Curve, seen: Evidence) -> _Found:
    capacity, source = exponents_for(seen.audit, curve)
    if capacity is None or source is None:
        return None
    edge = 2 / (curve.dimension + 1)
    product = source * capacity
    told = f"s b = {product:.2f}, and {edge:.2f} is Lipschitz and no smoother"
    return Holds.of(product <= (1 + MARGIN) * edge), told


def _noise(curve: Curve, seen: Evidence) -> _Found:
    noise = values_of(seen.own(curve), "noise_variance").groupby("x")["value"].mean()
    if noise.empty:
        return None
    told = f"variance {noise.min():.2g} to {noise.max():.2g} over t, per coordinate"
    return Holds.of(float(noise.max()) > 0), told


def _one_copy(curve: Curve, _seen: Evidence) -> _Found:
    return Holds.of(usual_noise(curve.fixed)), noise_label(curve.fixed)


def _fresh(curve: Curve, _seen: Evidence) -> _Found:
    """Fresh noise is 0 copies in a table."""
    return Holds.of(curve.fixed.get("copies") == 0), noise_label(curve.fixed)


def _descent(curve: Curve, _seen: Evidence) -> _Found:
    trainer = curve.fixed.get("trainer")
    if curve.fixed.get("width") == np.inf:
        return Holds.YES, "its limit at infinite width"
    if trainer is None or trainer == DESCENT:
        return None if trainer is None else (Holds.YES, str(trainer))
    return Holds.NO, f"{str(trainer).partition('@')[0]} trains"


def _lazy(curve: Curve, seen: Evidence) -> _Found:
    """By the level means of coupling and score error of the same trials, at one time."""
    if curve.fixed.get("width") == np.inf:
        return Holds.YES, "infinite width"
    beside = {c.quantity: c for c in seen.every if c.same_trials(curve)}
    pair = [beside.get(q) for q in (Quantity.COUPLING_AT_TIME, Quantity.ERROR_AT_TIME)]
    if pair[0] is None or pair[1] is None:
        return None
    coupling, error = (pd.Series(c.y).groupby(c.x).mean() for c in pair if c is not None)
    share = (coupling / error).max()
    told = f"{percent(share, 2)} of the score error at most, and {percent(SMALL)} is small"
    return Holds.of(share <= SMALL), told


def _step(curve: Curve, seen: Evidence) -> _Found:
    largest = values_of(seen.own(curve), "largest_step_size")["value"]
    eta = curve.x.max() if curve.axis == "step_size" else curve.fixed.get("step_size")
    if largest.empty or eta is None:
        return None
    told = f"eta = {eta:g}, and 2N/lambda_max is {largest.min():.3g} to {largest.max():.3g}"
    return Holds.of(eta < largest.min()), told


def _powers(curve: Curve, seen: Evidence) -> _Found:
    own = seen.own(curve)
    if own is None:
        return None
    audit_id = own["audit_id"].iloc[0]
    for other in seen.every:
        mine = other.fixed.get("audit_id") == audit_id
        if mine and other.quantity == Quantity.NTK_EIGENVALUE:
            slopes = [slope.exponent for slope in seen.fit_of(other).local_slopes]
            if slopes:
                told = f"their local exponent is {slopes[0]:.2f} first and {slopes[-1]:.2f} last"
                return Holds.of(np.ptp(slopes) <= MARGIN * np.mean(slopes)), told
    return None


def _sampler(curve: Curve, _seen: Evidence) -> _Found:
    """By the energy distance of samples that the true score makes through the same sampler."""
    if curve.sampler is None:
        return None
    times = max(curve.sampler.discretisation, 0.0)  # an estimate without bias
    told = f"their energy distance is {times:.2g} times what exact draws reach"
    return Holds.of(times <= 1), told


def _start(curve: Curve, _seen: Evidence) -> _Found:
    if curve.sampler is None:
        return None
    told = f"KL(p_T || start) is {percent(curve.sampler.start, 2)} of the bound at most, and "
    return Holds.of(curve.sampler.start <= SMALL), f"{told}{percent(SMALL)} is small"


_FINDERS: dict[Assumption, Callable[[Curve, Evidence], _Found]] = {
    Assumption.SUPPORT: _support,
    Assumption.SUB_GAUSSIAN: _sub_gaussian,
    Assumption.MANY_POINTS: _many_points,
    Assumption.LIPSCHITZ: _lipschitz,
    Assumption.NO_SMOOTHER: _no_smoother,
    Assumption.NOISE: _noise,
    Assumption.ONE_COPY: _one_copy,
    Assumption.FRESH: _fresh,
    Assumption.DESCENT: _descent,
    Assumption.LAZY: _lazy,
    Assumption.STEP: _step,
    Assumption.POWERS: _powers,
    Assumption.SAMPLER: _sampler,
    Assumption.START: _start,
}
"""DENSITY is not here: nothing measures it."""
