"""What the clean points tell of the score without training (docs/theory.md, section 7.7)."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.data.curves.quantities import INVERSE_T_MIN
from analysis.data.curves.quantity import Quantity
from analysis.fits.growth import log_power
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory

BOUNDED = 0.5
"""By how much a level of an error that counts as constant as T_0 falls may differ from the
geometric mean of all: it may not have settled yet."""

_ZHANG = (
    "Zhang, Yin, Liang and Liu (ICML 2024, arXiv:2402.15602): a kernel-based estimator of the "
    "score of any sub-Gaussian law has mean square error N^-1 v^(-(d+2)/2) at v = h/alpha^2 < 1, "
    "up to logarithms"
)
_OVER_TIMES = f"{_ZHANG}; its mean over t in [T_0, T], by integration"


def weighted_exponent(dimension: int) -> float:
    """a of error ~ (1/T_0)^a, the mean of v^(1 - d/2) over t: (d - 4)/2 above 4, else 0 (at 4 with
    a logarithm beside it)."""
    return max(dimension - 4, 0) / 2


def _rows(d: int, _measured: Measured) -> Iterator[Prediction]:
    yield Prediction(
        "empirical Bayes error against samples",
        Quantity.EMPIRICAL_BAYES,
        "samples",
        1.0,
        Kind.SHARP,
        MARGIN,
        _ZHANG,
        "At a fixed T_0, in every dimension, the error of empirical Bayes, a formula on the N "
        "clean points without training, falls as 1/N up to logarithms: that much is possible.",
        theory="empirical Bayes",
    )
    growing = weighted_exponent(d)
    how = "is bounded" if d < 4 else f"grows like {f'T_0^-{growing:g}' if d > 4 else 'log(1/T_0)'}"
    yield Prediction(
        "empirical Bayes error against 1/T_0",
        Quantity.EMPIRICAL_BAYES,
        INVERSE_T_MIN,
        0.0 - growing,
        Kind.SHARP,
        BOUNDED if d <= 4 else MARGIN,
        _OVER_TIMES,
        f"As T_0 falls, the weighted error of empirical Bayes {how}.",
        growth=log_power(1) if d == 4 else None,
        theory="empirical Bayes",
    )
    yield Prediction(
        "unweighted empirical Bayes error against 1/T_0",
        Quantity.EMPIRICAL_BAYES_UNWEIGHTED,
        INVERSE_T_MIN,
        -d / 2,
        Kind.SHARP,
        MARGIN,
        _OVER_TIMES,
        f"As T_0 falls, the unweighted error of empirical Bayes grows like T_0^-{d / 2:g}.",
        theory="empirical Bayes",
    )


EMPIRICAL_BAYES = Theory(
    key="empirical_bayes",
    name="Empirical Bayes",
    paper="zhang",
    year=2024,
    assumptions=(Assumption.SUB_GAUSSIAN, Assumption.MANY_POINTS),
    rows=_rows,
)
