"""The bootstrap over seeds: against the interval, its generator, its refusals."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fits.bootstrap import bootstrap_exponents
from analysis.fits.power_law import fit_power_law

X = np.array([64.0, 128, 256, 512, 1024, 2048, 4096])


def sample(seeds: int, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = X**-0.5 * np.exp(sigma * rng.standard_normal((seeds, len(X))))
    return np.tile(X, seeds), y.ravel(), np.repeat(np.arange(seeds), len(X))


@pytest.mark.parametrize("wild", [False, True])
def test_bootstrap_agrees_with_the_interval(wild: bool) -> None:
    x, y, seed = sample(20, 0.2)
    fit = fit_power_law(x, y, seed)
    result = bootstrap_exponents(x, y, seed, np.random.default_rng(0), wild=wild)
    assert result.exponents.shape == (10_000,)
    assert result.failed == 0
    assert "20 seeds" in result.unit
    assert np.mean(result.exponents) == pytest.approx(fit.exponent, abs=0.2 * np.ptp(fit.ci))
    assert np.ptp(result.interval()) == pytest.approx(np.ptp(fit.ci), rel=0.2)


def test_bootstrap_uses_its_generator() -> None:
    x, y, seed = sample(5, 0.2)
    one, two, three = (
        bootstrap_exponents(x, y, seed, np.random.default_rng(s), resamples=50).exponents
        for s in (0, 0, 1)
    )
    assert (one == two).all()
    assert (one != three).any()


def test_bootstrap_needs_complete_positive_data() -> None:
    x, y, seed = sample(4, 0.2)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="every seed"):
        bootstrap_exponents(x[1:], y[1:], seed[1:], rng)
    with pytest.raises(ValueError, match="positive"):
        bootstrap_exponents(x, -y, seed, rng)
