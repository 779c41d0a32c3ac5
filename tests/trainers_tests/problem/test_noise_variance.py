"""sigma^2: against direct draws of the labels' residuals, quadrature, and closed forms."""

import numpy as np
import pytest
from scipy import integrate, stats

from trainers.laws import make_distribution
from trainers.problem import diffusion as forward
from trainers.problem.evaluation import posterior_variance
from trainers.trial import TrialConfig


def config(law: dict[str, object], t_min: float, t_max: float, study_seed: int = 0) -> TrialConfig:
    values = {"law": law, "samples": 8, "width": 8, "step_size": 1.0, "study_seed": study_seed}
    diffusion = {"t_min": t_min, "t_max": t_max}
    return TrialConfig.model_validate({**values, "diffusion": diffusion})


def noise(c: TrialConfig) -> float:
    return posterior_variance(c, make_distribution(c.law))


def laws(d: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [
        {"kind": "gaussian_mixture", "dimension": d, "components": 4, "std": 0.3},
        {"kind": "gaussian_mixture", "dimension": d, "components": 3, "std": 0.03},
        {"kind": "atoms", "dimension": d, "count": 8},
        {"kind": "atoms", "dimension": d, "count": 50},
        {"kind": "cube", "dimension": d},
        {"kind": "sphere", "dimension": d},
        {"kind": "gaussian", "dimension": d, "power": 1.5},
        {"kind": "scale_mixture", "dimension": d, "std_min": 0.02},
    ]
    if d > 1:
        found.append({"kind": "subspace", "dimension": d, "inner": found[3] | {"dimension": 1}})
    return found


@pytest.mark.slow
@pytest.mark.parametrize("t_max", [1.0, 0.01])
@pytest.mark.parametrize("d", [1, 2, 4, 16])
def test_is_the_mean_square_of_the_labels_residuals(d: int, t_max: float) -> None:
    """Of 40,000 direct draws where those say anything: where rare ones carry the mean, or rounding
    is all there is, they do not, and `test_two_atoms_far_apart` does."""
    for law in laws(d):
        c = config(law, 1e-5, t_max)
        distribution, rng = make_distribution(c.law), np.random.default_rng(1)
        t = rng.uniform(1e-5, t_max, 40_000)
        x0 = distribution.sample(len(t), rng)
        x = forward.forward_sample(c.diffusion, x0, t, rng)
        f = distribution.posterior_mean(x, forward.alpha(c.diffusion, t), forward.h(c.diffusion, t))
        square = np.sum((x0 - f) ** 2, axis=1)
        error = square.std() / np.sqrt(len(t))
        if square.mean() > 1e-12 and error < 0.1 * square.mean():
            assert abs(noise(c) - square.mean()) < 4.5 * error + 0.005 * square.mean(), law


@pytest.mark.slow
@pytest.mark.parametrize("t_max", [1.0, 0.01])
def test_is_the_same_over_study_seeds_to_half_a_percent(t_max: float) -> None:
    for d in (1, 4, 16):
        for law in laws(d):
            values = [noise(config(law, 1e-5, t_max, seed)) for seed in range(3)]
            assert min(values) >= 0
            assert np.ptp(values) < 0.01 * np.mean(values) + 1e-12, (law, values)


@pytest.mark.slow
@pytest.mark.parametrize(("t_min", "t_max"), [(1e-5, 1.0), (1e-5, 0.01), (0.05, 1.0)])
def test_one_dimension_by_quadrature(t_min: float, t_max: float) -> None:
    """The cube and the atoms, x integrated against p_t on a fine grid and t by adaptive nodes."""
    for law in ({"kind": "cube", "dimension": 1}, {"kind": "atoms", "dimension": 1, "count": 3}):
        c = config(law, t_min, t_max)
        distribution = make_distribution(c.law)

        def given(t: float, c: TrialConfig = c, law=distribution) -> float:
            alpha, h = float(forward.alpha(c.diffusion, t)), float(forward.h(c.diffusion, t))
            x = np.linspace(-1 - 10 * np.sqrt(h), 1 + 10 * np.sqrt(h), 8_001)[:, None]
            density = np.exp(law.log_marginal(x, alpha, h))
            # Var(X_0 | x) = (h / alpha) df*/dx: Tweedie's formula of second order
            f = law.posterior_mean(x, alpha, h)[:, 0]
            variance = h / alpha * np.gradient(f, x[:, 0])
            return float(np.trapezoid(density * variance, x[:, 0]))

        exact = integrate.quad(given, t_min, t_max, limit=60, epsrel=1e-4)[0] / (t_max - t_min)
        assert noise(c) == pytest.approx(exact, rel=0.005)


def test_one_component_has_a_closed_form() -> None:
    """For X_0 ~ N(mu, s^2 I), Var(X_0 | X_t) = s^2 h / (alpha^2 s^2 + h) per coordinate."""
    law = {"kind": "gaussian_mixture", "dimension": 3, "components": 1, "std": 0.5}
    t = np.linspace(0.05, 1.0, 20_001)
    h = 1 - np.exp(-t)
    exact = np.mean(0.25 * h / ((1 - h) * 0.25 + h))
    assert noise(config(law, 0.05, 1.0)) == pytest.approx(3 * exact, rel=1e-4)


def test_two_atoms_far_apart() -> None:
    """D^2 E[r (1 - r)] = (D^2/2) s E[1/(2 cosh(a w / 2))], a = alpha D / sqrt h, s = e^(-a^2/8), by
    quadrature: 1e-9 of anything that draws of X_t would show."""
    c = config({"kind": "sphere", "dimension": 1}, 1e-5, 0.01)
    pair = config({"kind": "atoms", "dimension": 4, "count": 2}, 1e-5, 0.03)
    points = np.unique(make_distribution(pair.law).sample(200, np.random.default_rng(0)), axis=0)
    distance = np.linalg.norm(points[0] - points[1])
    w = np.linspace(-9, 9, 4001)

    def given(t: float) -> float:
        a = float(forward.alpha(pair.diffusion, t)) * distance
        a /= np.sqrt(float(forward.h(pair.diffusion, t)))
        inside = np.trapezoid(stats.norm.pdf(w) / np.cosh(a * w / 2), w)
        return float(distance**2 * np.exp(-(a**2) / 8) * inside / 4)

    t = np.linspace(1e-5, 0.03, 3001)
    exact = np.trapezoid([given(v) for v in t], t) / (t[-1] - t[0])
    assert exact < 1e-6
    assert noise(pair) == pytest.approx(exact, rel=0.005)
    assert noise(c) >= 0


@pytest.mark.parametrize("law", laws(2), ids=lambda law: str(law["kind"]))
def test_posterior_variance_is_the_derivative_of_the_posterior_mean(law: dict[str, object]) -> None:
    """Var(X_0 | x) = (h / alpha) div f*(x), Tweedie's formula of second order."""
    distribution = make_distribution(config(law, 0.05, 1.0).law)
    x = np.random.default_rng(2).normal(size=(50, 2))
    for t in (0.02, 0.3, 2.0):
        a, h, step = np.exp(-t / 2), 1 - np.exp(-t), 1e-5
        total = np.zeros(len(x))
        for i, move in enumerate(step * np.eye(2)):
            up, down = (distribution.posterior_mean(x + s * move, a, h)[:, i] for s in (1, -1))
            total += (up - down) / (2 * step)
        got = distribution.posterior_variance(x, a, h)
        np.testing.assert_allclose(got, h / a * total, rtol=1e-4, atol=1e-7)
        assert (got >= 0).all()
