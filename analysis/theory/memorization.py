"""The clocks of training on few clean points: when it generalizes, and when it memorizes
(docs/theory.md, section 12)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.data.curves.quantity import Quantity
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory

CHANGE = 0.5
"""By how much a level of a time that counts as constant may differ from the geometric mean of all,
so that one may be 2.25 times another: the clock that grows as N is allowed N^0.15 by its margin,
which is 1.68 times over a factor of 32."""

_CLOCKS = (
    "Bonnaire, Urfin, Biroli and Mezard (NeurIPS 2025, arXiv:2505.17638), by random features in "
    "the limit of large d, N and width"
)
_LAW = "Favero, Sclocchi and Wyart (2025, arXiv:2505.16959) find it for images and text"


def _rows(_d: int, _measured: Measured) -> Iterator[Prediction]:
    yield Prediction(
        "generalization time against samples",
        Quantity.GENERALIZATION_TIME,
        "samples",
        0.0,
        Kind.SHARP,
        CHANGE,
        _CLOCKS,
        "The effective time to come near the least score error does not depend on the number of "
        "clean points.",
        theory="clocks of memorization",
    )
    yield Prediction(
        "memorization time against samples",
        Quantity.MEMORIZATION_TIME,
        "samples",
        -1.0,
        Kind.SHARP,
        MARGIN,
        f"{_CLOCKS}; {_LAW}",
        "The effective time at which the network begins to memorize its clean points grows in "
        "proportion to their number.",
        theory="clocks of memorization",
    )
    yield Prediction(
        "memorization over generalization time against samples",
        Quantity.MEMORIZATION_RATIO,
        "samples",
        -1.0,
        Kind.SHARP,
        MARGIN,
        f"{_CLOCKS}: a memorization time in proportion to N over a constant generalization time",
        "The window in which training generalizes and has not memorized grows in proportion to the "
        "number of clean points.",
        theory="clocks of memorization",
    )


MEMORIZATION = Theory(
    key="memorization",
    name="Clocks of memorization",
    paper="bonnaire",
    year=2025,
    assumptions=(Assumption.FRESH, Assumption.DESCENT),
    rows=_rows,
)
