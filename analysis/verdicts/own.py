"""Predictions of the user's own: what is wrong with them, and why none of a study's curves answers
one. A prediction that nothing was judged of must say so, and never vanish.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from analysis.data.curves.quantities import Curve
from analysis.data.curves.quantity import CLOCKS, OF_THE_KERNEL, SAMPLED, Quantity
from analysis.data.sweeps import PLAIN
from analysis.theory import MARGIN, Prediction, predictions
from analysis.theory.own import Own, at
from analysis.verdicts.asking import NotAsked
from analysis.verdicts.rules import wanted_range


def check_own(own: Sequence[Own]) -> None:
    """Raises ValueError for a quantity or an axis that no curve has, for a margin that is no share,
    and for a name that another prediction has, of theory or among `own`."""
    taken = {row.name for row in predictions(1)}
    for row in (at(one, 1) for one in own):
        for key, value, known in (
            ("quantity", row.quantity, [str(quantity) for quantity in Quantity]),
            ("axis", row.axis, list(PLAIN)),
        ):
            if value not in known:
                raise ValueError(
                    f"prediction {row.name!r}: {key} = {value!r}: {_near(value, known)}"
                )
        if not 0 <= row.margin < 1:
            raise ValueError(
                f"prediction {row.name!r}: margin = {row.margin:g}: a share of the exponent from 0 "
                f"to 1, such as {MARGIN:g}"
            )
        if row.name in taken:
            raise ValueError(
                f"prediction {row.name!r}: another one has this name, and verdicts are told apart "
                "by it: give yours a name of its own"
            )
        taken.add(row.name)


def _near(value: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose among {', '.join(known)}"


def unanswered(
    own: Iterable[Prediction], judged: Iterable[str], curves: Sequence[Curve]
) -> list[NotAsked]:
    """Those of `own` that no curve was judged by, with what an answer takes. judged: the names of
    those that were."""
    seen = set(judged)
    return [NotAsked(row.name, _lacking(row, curves)) for row in own if row.name not in seen]


_MEASURED_BY: dict[Collection[str], str] = {
    SAMPLED: " (samples: `quality` in the study)",
    CLOCKS: " (several noisy copies of each point: `copies`)",
    (*OF_THE_KERNEL, Quantity.COUPLING_AT_TIME): " (the kernel beside networks: `kernel: true`)",
    (Quantity.APPROXIMATION, Quantity.NTK_EIGENVALUE): " (the audit: `audit: true`)",
    (Quantity.TWINS_BEST, Quantity.TWINS_LAST): " (seeds 2k and 2k + 1 of networks)",
}
"""What a study that measures a quantity has."""


def _lacking(row: Prediction, curves: Sequence[Curve]) -> str:
    for key in row.unsaid:
        return f"a number for its {key}, which is {getattr(row, key)}"
    along = [curve for curve in curves if curve.axis == row.axis]
    axis = PLAIN.get(row.axis, row.axis)
    if not along:
        least, decades = wanted_range(row)
        return (
            f"{least} values of {row.axis} ({axis}) or more over a factor of {10**decades:.3g}, "
            "all else held fixed, and the study has no such sweep"
        )
    if all(curve.quantity != row.quantity for curve in along):
        there = ", ".join(sorted({str(curve.quantity) for curve in along}))
        what = f"{row.quantity} against {row.axis}"
        wants = next((text for own, text in _MEASURED_BY.items() if row.quantity in own), "")
        return f"{what}{wants}; what the study has against it: {there}"
    wanted = ", ".join(row.needs)
    return f"a curve on which {wanted} is given and not 0"
