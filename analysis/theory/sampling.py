"""What a score error says of samples by a sampler with noise (docs/theory.md, section 14.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from analysis.data.curves.quantity import Quantity
from analysis.theory.hrx import HRX, MINIMAX, minimax_exponent
from analysis.theory.prediction import MARGIN, Assumption, Kind, Measured, Prediction, Theory

_CHEN = (
    "Girsanov's theorem for the reverse process in continuous time (Chen, Chewi, Li, Li, Salim and "
    "Zhang, ICLR 2023, arXiv:2209.11215)"
)


def _rows(d: int, _measured: Measured) -> Iterator[Prediction]:
    yield Prediction(
        "divergence of samples over Girsanov's bound against samples",
        Quantity.GIRSANOV_RATIO,
        "samples",
        math.nan,
        Kind.CEILING,
        0.0,
        _CHEN,
        "The divergence of the law at T_0 from the law of samples, made by a sampler with noise, "
        "is at most KL(p_T || start) and half the integral of the unweighted score error, here to "
        "within what exact draws reach.",
        threshold=1.0,
        theory="Girsanov",
    )
    minimax = minimax_exponent(d)
    yield Prediction(
        "divergence of samples against samples",
        Quantity.SAMPLE_DIVERGENCE,
        "samples",
        minimax,
        Kind.BOUND,
        MARGIN,
        f"{_CHEN}, with the score error of the {MINIMAX}",
        "Of networks stopped at the best time, the divergence of samples falls with N at least as "
        f"fast as the bound on their score error, N^-{minimax:.3g}.",
        theory="Girsanov, with minimax regression",
        assumptions=(Assumption.START, Assumption.SUPPORT, *HRX.assumptions),
    )


GIRSANOV = Theory(
    key="girsanov",
    name="From the score to samples",
    paper="chen",
    year=2023,
    assumptions=(Assumption.SAMPLER,),
    rows=_rows,
)
