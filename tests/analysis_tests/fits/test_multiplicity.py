"""The adjusted level: its step-up rule, and the false coverage rate that it keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
from scipy import stats

from analysis.data.curves.quantity import Quantity
from analysis.fits.multiplicity import adjusted_level
from analysis.theory import MARGIN, Kind, Prediction
from analysis.verdicts.rules import Word, word_for


def decided_to(p_value: float) -> Callable[[float], bool]:
    return lambda level: p_value <= 1 - level


def test_none_decided_gives_bonferroni_and_one_verdict_nothing() -> None:
    assert adjusted_level([decided_to(1.0)] * 10) == pytest.approx(0.995)
    assert adjusted_level([decided_to(0.03)]) == pytest.approx(0.95)
    assert adjusted_level([]) == pytest.approx(0.95)


def test_all_decided_by_far_gives_the_plain_level() -> None:
    assert adjusted_level([decided_to(0.0)] * 10) == pytest.approx(0.95)


@pytest.mark.parametrize("random_seed", range(20))
def test_selects_as_benjamini_and_hochberg_do(random_seed: int) -> None:
    p = np.random.default_rng(random_seed).beta(0.3, 2.0, size=12)
    by_scipy = int(np.sum(stats.false_discovery_control(p) <= 0.05))
    level = adjusted_level([decided_to(float(v)) for v in p])
    assert level == pytest.approx(1 - 0.05 * max(by_scipy, 1) / 12)
    assert by_scipy > 0 or p.min() > 0.05 / 12


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_false_coverage_rate_is_kept(shared: float) -> None:
    """Nine rates stand at their bound and three above it, known to a Student error too large for
    `consistent`: decided are those above and false alarms. `shared`: the correlation of estimates.
    """
    bound = Prediction(
        "b", Quantity.BEST_ERROR, "samples", 0.4, Kind.BOUND, MARGIN, "source", "statement"
    )
    truth = np.where(np.arange(12) < 9, 0.4, 0.55)
    error, freedom, repetitions = 0.04, 20, 1500
    generator = np.random.default_rng(0)
    half = cache(lambda level: float(stats.t.ppf(0.5 + level / 2, freedom)))
    plain: list[float] = []
    adjusted: list[float] = []
    decided = 0
    for _ in range(repetitions):
        z = np.sqrt(shared) * generator.normal() + np.sqrt(1 - shared) * generator.normal(size=12)
        estimate = truth + error * z
        scale = error * np.sqrt(generator.chisquare(freedom, size=12) / freedom)

        def is_decided(b: float, se: float, level: float) -> bool:
            reach = se * half(round(level, 9))
            return word_for(bound, b - reach, b + reach) is not Word.UNDETERMINED

        level = adjusted_level(
            [partial(is_decided, *one) for one in zip(estimate, scale, strict=True)]
        )
        for rates, at in ((plain, 0.95), (adjusted, level)):
            chosen = [is_decided(*one, at) for one in zip(estimate, scale, strict=True)]
            misses = np.abs(estimate - truth) > scale * half(round(at, 9))
            rates.append(float(np.sum(misses & chosen)) / max(sum(chosen), 1))
        decided += sum(chosen)
    noise = 3 * np.std(adjusted) / np.sqrt(repetitions)
    assert np.mean(adjusted) < 0.05 + noise
    assert np.mean(plain) > 0.07
    assert decided > 2 * repetitions  # power: most of the three are still found
