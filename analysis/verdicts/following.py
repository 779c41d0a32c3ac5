"""Verdicts that follow from another one of the same trials."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import Quantity
from analysis.theory import Kind, Prediction
from analysis.verdicts.judging import Verdict, selected
from analysis.verdicts.rules import LEAST_POINTS, Word, short_range, word_for
from trainers.kept.keep import noisy

Judged = tuple[Prediction, Verdict]

_ONE_ANOTHERS: dict[str, tuple[Quantity, str]] = {
    Quantity.BEST_ERROR: (Quantity.BEST_ERROR_UNWEIGHTED, "h^2/alpha^2 at T times the unweighted"),
    Quantity.BEST_ERROR_UNWEIGHTED: (Quantity.BEST_ERROR, "alpha^2/h^2 at T_0 times the weighted"),
    Quantity.SAMPLE_DIVERGENCE: (
        Quantity.BEST_ERROR,
        "by Girsanov's theorem a constant times the weighted",
    ),
}
"""Of the same network at the same step, each at most a constant times the other: both errors, and
the divergence of samples by the reverse process that start from the law at T."""


def followed(found: Sequence[Judged]) -> Iterator[Judged]:
    """The verdicts, with bounds on the best error, weighted and not, decided by one another where
    they follow, and that on the divergence of samples by the best error's.

    Both errors are of the same network at the same step, and the weight alpha^2/h^2 lies between
    its values at T and T_0: each is at most a constant times the other, and neither can fall slower
    than the other in the end, whatever its own curve seems to do. Where the other falls faster than
    the bound, so does this one, if it does over the range; if not, it violates nothing yet. What is
    measured by too few test points, or over too short a range, has shown nothing that could follow.
    """
    faster = [v for _p, v in found if v.axis == "samples" and v.verdict is Word.FASTER]
    for prediction, verdict in found:
        bounded = prediction.kind is Kind.BOUND and verdict.axis == "samples"
        open_or_worse = verdict.verdict in (Word.UNDETERMINED, Word.VIOLATES)
        other, most = _ONE_ANOTHERS.get(verdict.quantity, ("", ""))
        if verdict.quantity == Quantity.SAMPLE_DIVERGENCE and not _bounded_by_error(verdict.curve):
            other = ""
        decisive = [
            v
            for v in faster
            if v.quantity == other
            and v.theory_exponent >= prediction.exponent
            and v.curve is not None
            and verdict.curve is not None
            and v.curve.same_trials(verdict.curve)
            and (_knows_waves(v) or not _knows_waves(verdict))
        ]
        if bounded and open_or_worse and decisive and _shows_its_range(prediction, verdict):
            yield prediction, _following(prediction, verdict, decisive[0], most)
        else:
            yield prediction, _doubted(prediction, verdict, found)


def _bounded_by_error(curve: Curve | None) -> bool:
    """Whether Girsanov's bound on the divergence is a constant times the score error: of samples by
    the reverse process, of which it speaks, that start from the law at T. Of others it has a part
    that no training lowers."""
    if curve is None or curve.sampler is None:
        return False
    return curve.sampler.start == 0 and noisy(curve.sampled)


def _shows_its_range(prediction: Prediction, verdict: Verdict) -> bool:
    """Whether its own curve says how it falls over the range: by enough values and test points, and
    no choice of draws."""
    curve = verdict.curve
    few = curve is not None and (curve.effective_points < LEAST_POINTS or selected(curve))
    return not few and not short_range(verdict.fitted.levels, prediction)


def _knows_waves(verdict: Verdict) -> bool:
    """Whether its exponent at large values is found about what is known of the curve there."""
    seen = verdict.fitted.asymptotic
    return seen is not None and seen.known is not None


def _doubted(prediction: Prediction, verdict: Verdict, found: Sequence[Judged]) -> Verdict:
    """A `faster` of the unweighted error without what is known of large values, where the weighted
    error of the same networks, which has one exponent with it there, is judged with it and is not
    faster: that one is right, and this one open."""
    if verdict.quantity != Quantity.BEST_ERROR_UNWEIGHTED or verdict.verdict is not Word.FASTER:
        return verdict
    for other, v in found:
        same = v.quantity == Quantity.BEST_ERROR and other.exponent == prediction.exponent
        if not same or v.curve is None or verdict.curve is None:
            continue
        decided = v.verdict is Word.FASTER or not _knows_waves(v) or _knows_waves(verdict)
        if not decided and v.curve.same_trials(verdict.curve):
            low, high = v.fitted.interval_at_large(v.level)
            told = (
                f"{verdict.reason}, but the weighted error of the same networks has one exponent "
                f"with it at large values, in [{low:.3g}, {high:.3g}] there: {v.verdict}"
            )
            return replace(verdict, verdict=Word.UNDETERMINED, reason=told)
    return verdict


def _following(prediction: Prediction, verdict: Verdict, decisive: Verdict, most: str) -> Verdict:
    """The verdict on a quantity, by that on one which bounds it; itself where it is undetermined
    and stays so. most: what it is at most, in words."""
    fit, bound = verdict.fitted, f"{prediction.exponent:.3g}"
    own, other = (
        f"[{low:.3g}, {high:.3g}]"
        for low, high in (f.interval_at_large(f.level) for f in (fit, decisive.fitted))
    )
    told = f"b = {fit.exponent:.3g} [{fit.ci[0]:.3g}, {fit.ci[1]:.3g}]"
    within = (
        f"this is at most {most} one, whose b at large values is in {other}, above the bound "
        f"{bound}"
    )
    if word_for(prediction, *fit.ci) is Word.FASTER:
        told += f" over the range; its own curve leaves {own} at large values, but {within}"
        return replace(verdict, verdict=Word.FASTER, reason=told, follows=decisive)
    if verdict.verdict is Word.VIOLATES:
        told += f", below the bound {bound}, which cannot last: {within}; larger values would show"
        return replace(verdict, verdict=Word.UNDETERMINED, reason=told)
    return verdict
