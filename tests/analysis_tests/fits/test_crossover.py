"""The width above which a network is lazy, on planted couplings."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fits.crossover import Crossover, crossover
from analysis.levels.intervals import Array

TIME = np.geomspace(10, 1000, 16)
WIDTHS = 2.0 ** np.arange(6, 15)
P, AT_100 = 0.8, 300.0
M_STAR = AT_100 * (TIME / 100) ** P


def planted(seeds: int, noise: float, random_seed: int = 0) -> Array:
    """C(s) / (m + m*(s)), with scatter of the data sets, which widths and times share, and of the
    networks, which times share."""
    rng = np.random.default_rng(random_seed)
    shape = 0.01 * TIME[:, None, None] ** 1.5 / (WIDTHS + M_STAR[:, None, None])
    data = 0.3 * rng.standard_normal((1, seeds, 1))
    weights = noise * rng.standard_normal((1, seeds, len(WIDTHS)))
    tilt = noise * rng.standard_normal((1, seeds, len(WIDTHS))) * np.log(TIME / 100)[:, None, None]
    return np.asarray(shape * np.exp(data + weights + 0.3 * tilt))


def found(*arguments: Array) -> Crossover:
    fit = crossover(*arguments)
    assert isinstance(fit, Crossover)
    return fit


def test_exact_couplings_give_the_planted_widths() -> None:
    fit = found(TIME, WIDTHS, planted(4, 0.0))
    assert fit.m_star == pytest.approx(M_STAR, rel=1e-3)
    assert fit.resolved.all()
    assert fit.exponent == pytest.approx(P, abs=1e-3)
    assert fit.misfit < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [4, 16])
def test_intervals_hold(seeds: int) -> None:
    """Of the exponent, and of m* at each time: 95 % of 200 draws, to what a jackknife of few seeds
    can do."""
    held, at_each = 0, []
    for draw in range(200):
        fit = found(TIME, WIDTHS, planted(seeds, 0.1, draw))
        held += fit.low <= P <= fit.high
        low, high = fit.interval()
        at_each.append((low <= M_STAR)[fit.resolved] & (high >= M_STAR)[fit.resolved])
    assert 0.90 <= held / 200 <= 0.99
    assert 0.91 <= np.concatenate(at_each).mean() <= 0.99


def test_a_network_that_is_always_lazy_has_no_crossover() -> None:
    flat = planted(4, 0.05) * (WIDTHS + M_STAR[:, None, None]) / WIDTHS
    fit = found(TIME, WIDTHS, flat)
    assert not (fit.resolved & (fit.m_star > WIDTHS[0])).any()
    assert np.isnan(fit.exponent)


def test_too_few_widths_or_seeds_are_said() -> None:
    couplings = planted(4, 0.1)
    told = crossover(TIME, WIDTHS[:3], couplings[:, :, :3])
    assert told == "needs 4 widths on the same data or more, and has 3"
    told = crossover(TIME, WIDTHS, couplings[:, :2])
    assert told == "needs 3 seeds at every width or more, and has 2"
