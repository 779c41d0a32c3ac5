"""The test set's part of intervals: known shifts, simulated coverage, what it may not change."""

import numpy as np
import pytest

from analysis.fits.power_law import fit_power_law

X = np.repeat(2.0 ** np.arange(5, 11), 4)
U = np.log(X) - np.log(X).mean()


def curve(rng: np.random.Generator, groups: int, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """y ~ x^-1/2 with noise of 5 % a trial, and over groups of test points a tilt common to all."""
    tilt = shared * np.sqrt(groups) * rng.normal(size=groups)
    own = np.exp(0.05 * rng.normal(size=len(X)))
    parts = (X**-0.5 * own)[:, None] * (1 + tilt * U[:, None])
    total = parts.sum(axis=1, keepdims=True)
    return total[:, 0] / groups, (total - parts) / (groups - 1)


@pytest.mark.slow
def test_part_is_the_standard_deviation_of_exponents_over_test_sets() -> None:
    fits = [fit_power_law(X, y, without=w) for y, w in (curve(np.random.default_rng(i), 8, 0.02)
            for i in range(400))]  # fmt: skip
    parts = [fit.test_set.error for fit in fits]
    seeds = np.mean([(fit.ci[1] - fit.ci[0]) for fit in fits])
    assert np.sqrt(np.mean(np.square(parts))) == pytest.approx(0.02, rel=0.15)
    assert seeds > 0
    held = np.mean([fit.ci[0] <= 0.5 <= fit.ci[1] for fit in fits])
    assert 0.92 < held < 0.98
    bare = [fit_power_law(X, y) for y, _w in (curve(np.random.default_rng(i), 8, 0.02)
            for i in range(400))]  # fmt: skip
    assert np.mean([fit.ci[0] <= 0.5 <= fit.ci[1] for fit in bare]) < 0.85


def test_part_changes_the_interval_alone_and_says_its_share() -> None:
    y, without = curve(np.random.default_rng(0), 8, 0.02)
    bare, fit = fit_power_law(X, y), fit_power_law(X, y, without=without)
    assert bare.test_set is None
    assert fit.exponent == bare.exponent
    assert fit.ci[0] < bare.ci[0] < bare.ci[1] < fit.ci[1]
    assert fit.test_set is not None
    assert fit.test_set.groups == 8
    assert 0 < fit.test_set.share < 1
    same = fit_power_law(X, y, without=np.tile(y[:, None], (1, 8)))
    assert same.test_set is not None
    assert same.test_set.share == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(same.ci, bare.ci)


def test_linked_and_offset_fits_have_it_too() -> None:
    y, without = curve(np.random.default_rng(1), 8, 0.02)
    seed = np.tile(np.arange(4), 6)
    for arguments in ({"seed": seed}, {"offset": True}):
        bare = fit_power_law(X, y, **arguments)
        fit = fit_power_law(X, y, without=without, **arguments)
        assert fit.test_set is not None
        assert fit.test_set.error > 0.005
        assert bare.test_set is None


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="without"):
        fit_power_law(X, X, without=np.ones((3, 8)))
