"""benchmarks/coverage.py in small: shares of right and wrong verdicts, and its two derivations."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest
from scipy import stats


def distance(coverage: ModuleType, limit: float, k: float, q: float) -> float:
    """Noncentrality between k = 3, q = 1/4 at sigma 0.02, 10 seeds and the curve with limit b +
    `limit`; amplitudes are free."""
    u = np.log(coverage.LEVELS / 64)
    one, other = (np.log1p(k * np.exp(-q * u)) for k, q in ((3.0, 0.25), (k, q)))
    gap = one - other + limit * u
    return float(np.sqrt(10) / 0.02 * np.linalg.norm(gap - gap.mean()))


@pytest.mark.parametrize(
    ("limit", "k", "q", "delta", "variation"),
    [(0.05, 1.338, 0.2452, 0.29, 0.12), (0.1, 0.4244, 0.321, 0.83, 0.32)],
)
def test_a_curve_faster_than_the_bound_is_too_near_to_be_told_apart(
    coverage: ModuleType, limit: float, k: float, q: float, delta: float, variation: float
) -> None:
    found = distance(coverage, limit, k, q)
    assert found == pytest.approx(delta, abs=0.01)
    assert 2 * stats.norm.cdf(found / 2) - 1 == pytest.approx(variation, abs=0.005)


def test_what_the_best_test_leaves_agrees_with_simulation(coverage: ModuleType) -> None:
    """The power of the test that knows the shape, by drawing its t statistics."""
    bend = coverage.Bend(-0.5, 0.25, 0.1, 5)
    u = np.log(coverage.LEVELS)
    shape = np.log1p(bend.k * (coverage.LEVELS / 64) ** -bend.q)
    left = shape - np.polyval(np.polyfit(u, shape, 1), u)
    direction = left / np.linalg.norm(left)
    rng = np.random.default_rng(0)
    logs = shape + bend.sigma * rng.standard_normal((20_000, bend.seeds, len(u)))
    pooled = logs.var(axis=1, ddof=1).mean(axis=1)
    t = logs.mean(axis=1) @ direction / np.sqrt(pooled / bend.seeds)
    cut = stats.t.isf(coverage.DRIFT_P / 2, len(u) * (bend.seeds - 1))
    missed = float(np.mean(np.abs(t) < cut))
    assert coverage.undetected(bend) == pytest.approx(missed, abs=0.01)
    assert all(math.isfinite(coverage.undetected(b)) for b in coverage.BENDS)


def test_verdicts_on_straight_and_bent_curves(coverage: ModuleType) -> None:
    for bend in (coverage.STRAIGHT[0], coverage.Bend(1.0, 1.0, 0.1, 5), coverage.SHORT[0]):
        for share in coverage.verdict_shares(bend, 60):
            assert share.met, coverage.verdict_row(share)
            if bend.k == 0:
                assert share.right > 0.75
            if bend in coverage.SHORT:
                assert share.undetermined == 1


def test_a_verdict_that_is_often_wrong_is_not_met(coverage: ModuleType) -> None:
    """The table can fail: here every curve is called wrongly, and the bend would be seen."""
    bend = coverage.Bend(1.0, 1.0, 0.1, 5)
    share = coverage.Share(bend, "bound b", 1000, 0.0, 0.2, 0.8, coverage.undetected(bend))
    assert not share.met
    assert coverage.verdict_row(share).endswith("NOT MET")


def test_designs_leave_every_level_two_seeds_and_link_them(designs: ModuleType) -> None:
    assert len(designs.DESIGNS) == 16
    for cells in designs.DESIGNS.values():
        assert cells.sum(axis=0).min() >= 2
        assert np.sum(cells.sum(axis=1) >= 2) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["2 everywhere, 8 alone", "12 seeds, 50 % lost", "neighbours share 3"]
)
def test_incomplete_designs_are_covered(designs: ModuleType, name: str) -> None:
    for noise in designs.NOISES.values():
        held, _before, length = designs.design_row(designs.DESIGNS[name], noise, 100)
        assert held >= 0.93 - 3 * math.sqrt(0.95 * 0.05 / 100)
        assert length < 1.4


def test_refusals_ask_for_more_than_size(designs: ModuleType) -> None:
    by_size, refused = designs.refusal_row(20, 0.15, 0.0, 0.0, 50)
    assert by_size > 0.5
    assert refused <= 0.06
    assert designs.refusal_row(20, 0.02, 0.5, 2.5, 5) == [1.0, 1.0]
