"""What a study cannot be asked: predictions that no outcome of its trials could decide.

A prediction is not asked where the design of the study forbids a verdict: its axis takes too few
values, or too short a range (rule 2 of `rules`), or, for an error that is never stopped, its steps
are too few to fit the noise, or what it speaks of is not measured well enough. Nor is one asked
that speaks of a class of targets alone, where the audit finds the law's target outside of it: no
rate of its trials would be evidence for or against. Such a row is no verdict, but says what it
needs. What a fault took away (divergence, a failure, a best step that was not reached, a missing
value) leaves the question asked, and its verdict `undetermined`: losing more must never look
better.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import OF_DESCENT, OF_DIVERGENCE, Quantity
from analysis.data.curves.sampled import MOST_DIMENSIONS
from analysis.data.curves.trajectories import INTERPOLATED
from analysis.data.sweeps import PLAIN
from analysis.levels.intervals import distinct
from analysis.text import counted, percent
from analysis.theory import Kind, Prediction
from analysis.theory.prediction import Assumption
from analysis.theory.sampling import GIRSANOV
from analysis.verdicts.assumed import Finding, Holds
from analysis.verdicts.judging import Verdict, levels_listed
from analysis.verdicts.rules import short_range, wanted_range
from trainers.kept.keep import NOISY, noisy
from trainers.registry import DESCENT


@dataclass(frozen=True)
class NotAsked:
    """A prediction that the study cannot answer on a curve. needs: what an answer takes. verdict:
    `undetermined`, with the curve and whatever was fitted to it, for figures; None where there is
    no curve."""

    prediction: str
    needs: str
    verdict: Verdict | None = field(default=None, repr=False, compare=False)

    @property
    def told(self) -> str:
        """`coupling against width: needs ...`."""
        return f"{self.prediction}: needs {self.needs}"


def lines(rows: Iterable[NotAsked]) -> list[str]:
    """A line a prediction: what the first curve needs, and on how many others it is alike."""
    told: dict[str, list[str]] = {}
    for row in rows:
        told.setdefault(row.prediction, []).append(row.told)
    return [_with_others(each[0], len(set(each)) - 1) for each in told.values()]


def _with_others(line: str, count: int) -> str:
    if not count:
        return line
    return f"{line}, and the like on {counted(count, 'other curve')}"


FEW_DIMENSIONS = (
    f"d at most {MOST_DIMENSIONS}: in more dimensions the estimate of the divergence is far too "
    "low where samples are tighter than the law"
)
WITH_NOISE = (
    f"samples by {' or '.join(NOISY)}: Girsanov's theorem is of a process with noise, and says "
    "nothing of the probability flow"
)
OF_NO_OTHER = "a trainer of gradient descent: of no other is step size times steps a time"


def needed(prediction: Prediction, curve: Curve, descending: Collection[str] = (DESCENT,)) -> str:
    """What the study would have to do before the prediction could be judged on the curve; empty
    where it does it. descending: the trainers that descend the gradient; what a theory says of
    their clock is asked of no other."""
    if prediction.theory_key and curve.quantity in OF_DESCENT and _other(curve, descending):
        return OF_NO_OTHER
    if prediction.theory_key == GIRSANOV.key and not noisy(curve.sampled):
        return WITH_NOISE
    of_size = prediction.kind is Kind.CEILING and curve.quantity in OF_DIVERGENCE
    if of_size and curve.dimension > MOST_DIMENSIONS:
        return FEW_DIMENSIONS
    tried = [*curve.x.tolist(), *curve.diverged, *curve.failed, *curve.missing]
    if short_range(_levels(tried), prediction):
        return range_needed(prediction, curve.axis, _levels(tried))
    if curve.quantity != Quantity.FINAL_ERROR:
        return ""
    stopped = set(curve.spoilt.tolist())
    if not short_range(_levels(x for x in tried if x not in stopped), prediction):
        return ""
    return _steps_needed(curve, _levels(stopped))


CLASSES = {Assumption.NO_SMOOTHER: "f* smoother than Lipschitz"}
"""Assumptions that a rate is about: the class of targets whose worst one it is sharp for; and what
is outside of it. Others, such as a network near its kernel limit, are asked about along with the
rate."""


def outside(found: Iterable[Finding]) -> str:
    """What the law would have to be for a prediction with these findings to speak of it; empty
    where it does, and where that was not measured."""
    for one in found:
        if one.name in CLASSES and one.holds is Holds.NO:
            return f"{one.name}, which is not so ({one.finding})"
    return ""


def _other(curve: Curve, descending: Collection[str]) -> bool:
    """Whether its trials are of networks, trained by something else than gradient descent."""
    infinite = curve.fixed.get("width") == math.inf
    return not infinite and curve.fixed.get("trainer", DESCENT) not in descending


def _levels(values: Iterable[float]) -> list[float]:
    found = np.array(sorted(values), dtype=float)
    return [float(v) for v in distinct(found)[0]]


def range_needed(prediction: Prediction, axis: str, levels: Sequence[float]) -> str:
    """What an axis of so many values lacks."""
    least, decades = wanted_range(prediction)
    low, high = min(levels), max(levels)
    return (
        f"{least} values of {PLAIN.get(axis, axis)} or more over a factor of {10**decades:.3g} "
        f"(from {low:g} to {low * 10**decades:.4g}), and has {len(levels)} over a factor of "
        f"{high / low:.3g}"
    )


def _steps_needed(curve: Curve, stopped: Sequence[float]) -> str:
    """More steps than each trial has at the levels where one does not fit its noise."""
    steps, eta = curve.fixed.get("steps"), curve.fixed.get("step_size")
    more = "longer times" if steps is None else f"more than {steps:,} steps"
    if steps is not None and eta is not None:
        more += f" of size {eta:g}"
    axis = PLAIN.get(curve.axis, curve.axis)
    return (
        f"every trial to fit its noise (a last training loss below {percent(INTERPOLATED)} of the "
        f"noise level): {more} at {axis} = {levels_listed(stopped)}"
    )
