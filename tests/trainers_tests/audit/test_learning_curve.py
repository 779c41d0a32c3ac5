"""The predicted error: power laws in the limit, a search of its own, and kernel descent itself."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from trainers.audit import measure
from trainers.audit.learning_curve import Spectrum, learning_time
from trainers.kernel.solution import decompose
from trainers.laws import make_distribution
from trainers.problem.regression import draw
from trainers.trial import GaussianMixture, TrialConfig


def powers(b: float, s: float, count: int = 20_000) -> Spectrum:
    """Powers for every index: what lies beyond `count` is summed, and its f* is never learnt."""
    i = np.arange(1.0, count + 1)
    energies = np.append(i ** -(1 + s * b), count ** (-s * b) / (s * b))
    return Spectrum(i**-b, np.append(i**-b, 0.0), energies, count ** (1 - 2 * b) / (2 * b - 1), 0.5)


@pytest.mark.parametrize(("b", "s"), [(4 / 3, 0.5), (1.5, 1.0), (1.2, 1.5)])
def test_power_laws_have_the_rate_of_source_and_capacity(b: float, s: float) -> None:
    samples = [2**k for k in range(12, 21, 2)]
    errors, times = np.array(list(powers(b, s).best(samples))).T
    n = np.log(samples)
    assert -np.polyfit(n, np.log(errors), 1)[0] == pytest.approx(s * b / (s * b + 1), abs=0.03)
    assert np.polyfit(n, np.log(times), 1)[0] == pytest.approx(b / (s * b + 1), abs=0.04)


def test_the_best_is_the_least_over_time_by_a_search() -> None:
    known = powers(1.4, 0.8, 500)

    def at(log_time: float, n: int) -> float:
        time = np.exp(log_time)
        kept = np.exp(-time * known.eigenvalues)
        noise = 0.5 / n * (np.sum((1 - kept) ** 2) + time**2 * known.rest)
        return float(np.sum(known.energies[:-1] * kept**2) + known.energies[-1] + noise)

    for n, (error, time) in zip((64, 1024), known.best((64, 1024)), strict=True):
        best = scipy.optimize.minimize_scalar(
            at, bounds=(-2, 7), args=(n,), method="bounded", options={"xatol": 1e-9}
        )
        assert best.fun <= error <= best.fun * (1 + 1e-9)
        assert time == pytest.approx(np.exp(best.x), rel=1e-4)
        assert known.errors(n, np.array([time]))[0] == pytest.approx(error, rel=1e-12)


def test_a_spectrum_that_does_not_reach_predicts_nothing() -> None:
    short = powers(1.4, 0.8, 20)
    (near, _), (far, time) = short.best((16, 10**8))
    assert np.isfinite(near)
    assert np.isnan([far, time]).all()


@pytest.mark.slow
def test_kernel_descent_errs_as_predicted() -> None:
    law = GaussianMixture(dimension=4, components=8, std=0.1, seed=5)
    config = TrialConfig(law=law, samples=64, width=64, step_size=1.0)
    distribution = make_distribution(law)
    predicted: dict[float, list[float]] = {}
    for m in measure.spectrum(config, distribution, 0, samples=2048):
        if m.quantity == "predicted_error":
            predicted.setdefault(m.x, []).append(m.value)
    rng = np.random.default_rng(0)
    test = draw(distribution, config.diffusion, 1500, True, rng)
    times = np.geomspace(1, 1000, 60).round()
    for n in (64, 256):
        errors = []
        for _ in range(6):
            data = draw(distribution, config.diffusion, n, True, rng)
            made = decompose(data.z, data.x0, test.z, "eigen")
            difference = made.at(list(times), 1.0).evaluation - test.fstar.T
            errors.append(np.square(difference).sum(1).mean(1).min())
        # the sum leaves out that the design is random: a few per cent at these N
        assert np.mean(errors) == pytest.approx(np.mean(predicted[n]), rel=0.12)


def test_half_of_a_target_is_learned_at_a_known_time() -> None:
    one = learning_time(np.array([0.2]), np.array([3.0]))
    assert one == pytest.approx(np.log(2) / 0.2)
    # three quarters at 1, the rest at 0: 3/4 (1 - e^-s) = 1/2
    two = learning_time(np.array([1.0, 0.0]), np.array([3.0, 1.0]))
    assert two == pytest.approx(np.log(3))
    # times are in units of 1/l, and energies have no scale
    scaled = learning_time(np.array([1e-6, 0.0]), np.array([3e8, 1e8]))
    assert scaled == pytest.approx(np.log(3) * 1e6)
    assert np.isnan(learning_time(np.array([1.0, 0.0]), np.array([1.0, 2.0])))
