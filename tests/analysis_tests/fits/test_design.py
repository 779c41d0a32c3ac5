"""Designs: what they plan with, where they add, and whether intervals stay honest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from analysis.fits.half_width import (
    MOST_PILOT,
    PILOT,
    SLOPE_PRIOR,
    Design,
    next_round,
    pilot_counts,
)
from analysis.fits.power_law import fit_power_law
from analysis.levels.clusters import spread_curve

LEVELS = 2.0 ** np.arange(6, 13)
COSTS = LEVELS + 64


def drawn(rng: np.random.Generator, counts: Any, spread: Any, b: float = 0.6) -> tuple[Any, Any]:
    """x, y of y = x^-b times lognormal noise of mean 1."""
    x = np.repeat(LEVELS, counts)
    s = np.repeat(np.broadcast_to(spread, len(LEVELS)), counts)
    return x, x**-b * np.exp(s * rng.standard_normal(len(x)) - s**2 / 2)


def run(
    rng: np.random.Generator, target: float, spread: Any, pool: int = 600
) -> tuple[Any, Any, Any]:
    """An adaptive design to its end: x, y and the counts."""
    y = LEVELS[:, None] ** -0.6 * np.exp(
        np.broadcast_to(spread, 7)[:, None] * rng.standard_normal((7, pool))
        - np.broadcast_to(spread, 7)[:, None] ** 2 / 2
    )
    counts = pilot_counts(COSTS)
    while True:
        x = np.repeat(LEVELS, counts)
        values = np.concatenate([y[i, :n] for i, n in enumerate(counts)])
        found = next_round([Design.of(LEVELS, COSTS, x, values)], [target])
        if found.reached:
            return x, values, counts
        counts = counts + found.more


def test_planning_recovers_planted_spreads_that_fall_with_x() -> None:
    rng = np.random.default_rng(1)
    counts = np.full(7, 400)
    planted = 0.3 * (LEVELS / 64) ** -0.2
    found = []
    for _ in range(50):
        v = planted[:, None] * rng.standard_normal((7, 400))
        squares = np.sum((v - v.mean(axis=1, keepdims=True)) ** 2, axis=1)
        found.append(spread_curve(np.log(LEVELS), counts, squares, SLOPE_PRIOR))
    assert np.mean(found, axis=0) == pytest.approx(planted**2, rel=0.05)


def test_the_half_width_is_that_of_the_fit() -> None:
    """The same intervals by another route: analysis.fits.power_law."""
    rng = np.random.default_rng(2)
    for counts in (np.full(7, 30), pilot_counts(COSTS)):
        x, y = drawn(rng, counts, 0.2)
        design = Design.of(LEVELS, COSTS, x, y)
        low, high = fit_power_law(x, y).ci
        assert design.half_width() == pytest.approx((high - low) / 2, rel=1e-6)


def test_the_next_trial_goes_where_it_saves_most_for_its_cost() -> None:
    """By brute force over the levels."""
    x, y = drawn(np.random.default_rng(3), np.full(7, 4), np.linspace(0.3, 0.1, 7))
    design = Design.of(LEVELS, COSTS, x, y)

    def variance(counts: Any) -> float:
        slope = np.polyfit(np.log(LEVELS), np.eye(7), 1)[0]
        return float(np.sum(slope**2 * design.variances / counts))

    saved = [
        (variance(design.counts) - variance(design.counts + np.eye(7, dtype=int)[i])) / COSTS[i]
        for i in range(7)
    ]
    assert design.best_addition() == int(np.argmax(saved))
    equal = Design.of(LEVELS, np.ones(7), *drawn(np.random.default_rng(4), np.full(7, 9), 0.2))
    assert equal.best_addition() in (0, 6)


def test_a_level_without_a_spread_comes_first_and_is_infinitely_wide() -> None:
    counts = np.array([5, 5, 5, 1, 5, 5, 5])
    design = Design.of(LEVELS, COSTS, *drawn(np.random.default_rng(5), counts, 0.2))
    assert design.half_width() == math.inf
    assert design.best_addition() == 3
    assert next_round([design], [10.0]).more[3] == 1


def test_only_spreads_decide_never_the_curve() -> None:
    """Another exponent, a bend, a shift: the same designs and rounds."""
    x, y = drawn(np.random.default_rng(6), pilot_counts(COSTS), 0.2)
    changed = [y, 7 * y, y * x**0.9, y * np.exp(0.3 * np.log(x) ** 2)]
    rounds = [next_round([Design.of(LEVELS, COSTS, x, v)], [0.02]) for v in changed]
    for found in rounds[1:]:
        assert (found.more == rounds[0].more).all()
        assert found.half_widths == pytest.approx(rounds[0].half_widths)


def test_the_pilot_has_more_trials_where_they_are_cheap() -> None:
    counts = pilot_counts(COSTS)
    assert counts.min() == counts[-1] == PILOT
    assert counts[0] == MOST_PILOT
    assert (np.diff(counts) <= 0).all()
    assert (pilot_counts(np.ones(4), 5) == 5).all()
    assert (pilot_counts(COSTS, 20) == 20).all()


def test_a_round_keeps_to_its_budgets() -> None:
    design = Design.of(LEVELS, COSTS, *drawn(np.random.default_rng(7), pilot_counts(COSTS), 0.2))
    spent = float(design.counts @ COSTS)
    free = next_round([design], [0.001])
    assert 0.9 * spent < free.more @ COSTS <= spent  # GROWTH
    assert next_round([design], [0.001], budget=5000).more @ COSTS <= 5000
    assert next_round([design], [0.001], trials=7).more.sum() == 7
    for nothing in ({"budget": 1.0}, {"trials": 0}, {"budget": -5.0}):
        found = next_round([design], [0.001], **nothing)
        assert not found.more.any()
        assert not found.reached
    assert next_round([design], [1.0]).reached


def test_two_targets_are_both_reached() -> None:
    rng = np.random.default_rng(8)
    counts = pilot_counts(COSTS)
    x, y = drawn(rng, counts, 0.1)
    _x, z = drawn(rng, counts, 0.4)
    designs = [Design.of(LEVELS, COSTS, x, v) for v in (y, z)]
    both = next_round(designs, [0.05, 0.1])
    hard = next_round(designs[1:], [0.1])
    assert (both.more == hard.more).all()
    assert len(both.half_widths) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "share"), [(0.2, 0.85), (np.linspace(0.25, 0.14, 7), 0.65)], ids=["even", "falling"]
)
def test_intervals_are_short_cheap_and_honest(spread: Any, share: float) -> None:
    """benchmarks/adaptive.py has more repetitions, and other noise."""
    rng = np.random.default_rng(9)
    covered, cost = [], []
    for _ in range(250):
        x, y, counts = run(rng, 0.03, spread)
        fit = fit_power_law(x, y)
        low, high = fit.ci
        assert high - low <= 0.06 * (1 + 1e-9)
        covered.append(low <= 0.6 <= high)
        cost.append(counts @ COSTS)
    # A grid that grows until its interval is short covers at 0.935, too.
    assert np.mean(covered) > 0.935 - 3 * math.sqrt(0.065 * 0.935 / 250)
    grid = next(n for n in range(3, 40) if _grid(n, spread) <= 0.03)
    assert np.median(cost) < share * grid * COSTS.sum()


def _grid(seeds: int, spread: Any) -> float:
    """Half-width with as many seeds at every level, known spreads: no interval is shorter."""
    slope = np.polyfit(np.log(LEVELS), np.eye(7), 1)[0]
    return float(1.96 * np.sqrt(np.sum(slope**2 * np.broadcast_to(spread, 7) ** 2) / seeds))


def test_the_allocation_tends_to_neymans() -> None:
    x, y = drawn(np.random.default_rng(10), np.full(7, 5), np.linspace(0.3, 0.1, 7))
    design = Design.of(LEVELS, COSTS, x, y)
    while design.counts.sum() < 3000:
        more = np.zeros(7, dtype=np.int64)
        more[design.best_addition()] = 1
        design = design.plus(more)
    slope = np.abs(np.polyfit(np.log(LEVELS), np.eye(7), 1)[0])
    best = slope * np.sqrt(design.variances / COSTS)
    large = slope > 1e-9
    expected = best[large] / best[large].sum() * design.counts[large].sum()
    assert design.counts[large] == pytest.approx(expected, rel=0.05, abs=2)
    assert design.counts[~large] == [5]


def test_the_exponent_of_a_bent_curve_does_not_depend_on_the_allocation() -> None:
    """Without noise to speak of, unequal numbers of trials give the slope of the equal grid."""
    bent = LEVELS**-0.4 * (1 + 3 * (LEVELS / 64) ** -0.5)
    rng = np.random.default_rng(11)
    found = []
    for counts in (np.full(7, 5), np.array([60, 30, 9, 3, 4, 5, 5])):
        y = np.repeat(bent, counts) * np.exp(1e-6 * rng.standard_normal(counts.sum()))
        found.append(fit_power_law(np.repeat(LEVELS, counts), y).exponent)
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_what_makes_no_design_is_refused() -> None:
    ones = np.ones(6)
    x = np.repeat(LEVELS[:3], 2)
    with pytest.raises(ValueError, match="three"):
        Design.of([1, 2], [1, 1], [1, 2], [1, 1])
    with pytest.raises(ValueError, match="positive, finite"):
        Design.of(LEVELS[:3], COSTS[:3], x, -ones)
    with pytest.raises(ValueError, match="two trials that differ"):
        Design.of(LEVELS[:3], COSTS[:3], x, ones)
