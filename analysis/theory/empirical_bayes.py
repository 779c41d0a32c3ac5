"""What the clean points tell of the score without training (docs/theory.md, section 7.7)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.data.quantity import Quantity
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory


def _rows(_d: int, _measured: Measured) -> Iterator[Prediction]:
    yield Prediction(
        "empirical Bayes error against samples",
        Quantity.EMPIRICAL_BAYES,
        "samples",
        1.0,
        Kind.SHARP,
        MARGIN,
        "Zhang, Yin, Liang and Liu (ICML 2024, arXiv:2402.15602): a kernel-based estimator of "
        "the score of any sub-Gaussian law has mean square error N^-1 at a fixed time, up to "
        "logarithms",
        "At a fixed T_0, in every dimension, the error of empirical Bayes, a formula on the N "
        "clean points without training, falls as 1/N up to logarithms: that much is possible.",
        theory="empirical Bayes",
    )


EMPIRICAL_BAYES = Theory(
    key="empirical_bayes",
    name="Empirical Bayes",
    paper="zhang",
    year=2024,
    assumptions=(Assumption.SUB_GAUSSIAN,),
    rows=_rows,
)
