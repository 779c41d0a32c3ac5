"""Samplers: their orders without Monte Carlo error, and exact draws as the measure of the rest."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from trainers.laws import KINDS, make_distribution
from trainers.laws.kinds.gaussian import Gaussian
from trainers.laws.kinds.gaussian_mixture import GaussianMixture
from trainers.problem import diffusion as forward
from trainers.problem.regression import stream
from trainers.sampling.distances import energy_distance
from trainers.sampling.samplers import exact_draws, sample, time_grid, true_predictor
from trainers.trial import Cube, Diffusion, Subspace

PROCESS = Diffusion()
LINEAR = Diffusion(schedule="linear", g_min=0.5, g_max=4.0, t_min=0.01, t_max=2.0)
LAWS = Path(__file__).parents[1] / "laws"
POINTS = 400


class Unit:
    """Stands for a generator: of n = S + 1 samples, number i has unit noise in step i - 1 alone."""

    def __init__(self) -> None:
        self.step = 0

    def standard_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        self.step += 1
        noise = np.zeros(shape)
        noise[self.step] = 1.0
        return noise


def variance(sampler: Any, steps: int, grid: Any, process: Diffusion) -> tuple[float, float]:
    """Of a sampler's output for a Gaussian law in d = 1, which is linear in its start and its
    noises: the sum of the squares of what each brings. And the true one."""
    law = make_distribution(Gaussian(dimension=1, std=0.7))
    start = np.zeros((steps + 1, 1))
    alpha, h = forward.alpha(process, process.t_max), forward.h(process, process.t_max)
    start[0] = np.sqrt(alpha**2 * 0.49 + h)
    predictor = true_predictor(law, process)
    noise: Any = Unit()
    found = sample(predictor, process, start[None], [noise], sampler, steps, grid)
    alpha, h = forward.alpha(process, process.t_min), forward.h(process, process.t_min)
    return float(np.square(found).sum()), float(alpha**2 * 0.49 + h)


@pytest.mark.parametrize("process", [PROCESS, LINEAR], ids=["constant", "linear"])
@pytest.mark.parametrize("grid", ["uniform", "log"])
@pytest.mark.parametrize(("sampler", "order"), [("euler_maruyama", 1), ("exponential", 1),
                                                ("heun", 2)])  # fmt: skip
def test_halving_the_steps_shows_the_order(
    sampler: str, order: int, grid: str, process: Diffusion
) -> None:
    errors = []
    for steps in (200, 400, 800):
        found, true = variance(sampler, steps, grid, process)
        errors.append(abs(found / true - 1))
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(rates - order) < 0.12 * order), (errors, rates)
    assert errors[-1] < (0.02 if order == 1 else 1e-4)


def test_the_flow_is_solved_to_its_tolerance() -> None:
    """Against its closed form for a Gaussian law: y goes with the standard deviation."""
    law = make_distribution(Gaussian(dimension=3, power=1.0))
    start = np.random.default_rng(0).standard_normal((20, 3))
    for process in (PROCESS, LINEAR):
        found = sample(true_predictor(law, process), process, start[None], [], "flow")
        scales = []
        for t in (process.t_max, process.t_min):
            alpha, h = forward.alpha(process, t), forward.h(process, t)
            scales.append(np.sqrt(alpha**2 / np.arange(1, 4) + h))
        np.testing.assert_allclose(found[0], start * scales[1] / scales[0], rtol=2e-5)


def test_heun_follows_the_flow() -> None:
    law = make_distribution(GaussianMixture(dimension=2, components=3, seed=1))
    start = np.random.default_rng(0).standard_normal((50, 2))
    predictor = true_predictor(law, PROCESS)
    exact = sample(predictor, PROCESS, start[None], [], "flow")
    errors = [
        np.abs(sample(predictor, PROCESS, start[None], [], "heun", n) - exact).max()
        for n in (100, 200)
    ]
    assert errors[1] < 0.35 * errors[0]
    assert errors[1] < 1e-2


def test_the_grids() -> None:
    log, uniform = time_grid(PROCESS, 8), time_grid(PROCESS, 8, "uniform")
    for grid in (log, uniform):
        assert (grid[0], grid[-1], len(grid)) == (1.0, 0.05, 9)
    np.testing.assert_allclose(np.diff(np.log(log)), np.log(0.05) / 8)
    np.testing.assert_allclose(np.diff(uniform), -0.95 / 8)


def test_networks_side_by_side_are_each_alone_and_the_generator_is_used() -> None:
    law = make_distribution(Cube(dimension=2))
    true = true_predictor(law, PROCESS)

    def predictors(y: torch.Tensor, t: float) -> torch.Tensor:
        return torch.cat([true(y[:1], t), 0.5 * true(y[1:], t)])

    start = np.random.default_rng(0).standard_normal((16, 2))

    def drawn(predictor: Any, *seeds: int) -> np.ndarray:
        rngs = [np.random.default_rng(seed) for seed in seeds]
        return sample(predictor, PROCESS, np.stack([start] * len(seeds)), rngs, steps=20)

    both = drawn(predictors, 1, 5)
    np.testing.assert_allclose(both[:1], drawn(true, 1), rtol=1e-12)
    np.testing.assert_allclose(both[1:], drawn(lambda y, t: 0.5 * true(y, t), 5), rtol=1e-12)
    assert np.array_equal(both, drawn(predictors, 1, 5))
    assert not np.allclose(both[:1], drawn(true, 2))
    with pytest.raises(ValueError, match="sampler = 'euler' is unknown: use euler_maruyama"):
        sample(true, PROCESS, start[None], [], "euler")


def examples() -> list[Any]:
    tests = {kind: runpy.run_path(str(LAWS / f"test_{kind}.py")) for kind in KINDS}
    laws = [law for d in (1, 2, 8) for test in tests.values() for law in test["examples"](d)]
    return [*laws, Subspace(dimension=8, inner=Cube(dimension=2), seed=5)]


def distance_by_its_band(law: Any, sampler: Any) -> float:
    """The energy distance of samples to exact draws, over what 99 of 100 sets of those reach."""
    distribution = make_distribution(law)
    rng = stream("samples pass for draws", law.identity(), sampler)
    start = exact_draws(distribution, PROCESS, PROCESS.t_max, POINTS, rng)
    found = sample(true_predictor(distribution, PROCESS), PROCESS, start[None], [rng], sampler)[0]
    sets = [exact_draws(distribution, PROCESS, PROCESS.t_min, POINTS, rng) for _ in range(200)]
    null = [energy_distance(a, b) for a, b in zip(sets[:100], sets[100:], strict=True)]
    return float(energy_distance(found, sets[0]) / np.quantile(null, 0.99))


QUICK = [GaussianMixture(dimension=2, seed=5), Cube(dimension=1)]


@pytest.mark.parametrize("sampler", ["exponential", "heun"])
@pytest.mark.parametrize("law", QUICK, ids=lambda law: law.kind)
def test_samples_by_the_true_score_pass_for_draws(law: Any, sampler: str) -> None:
    assert distance_by_its_band(law, sampler) < 1


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["euler_maruyama", "exponential", "heun"])
def test_so_they_do_for_every_law(sampler: str) -> None:
    """Of so many laws chance alone leaves one outside in a hundred: no more of them are, and none
    is far."""
    outside = {law.label: r for law in examples() if (r := distance_by_its_band(law, sampler)) > 1}
    assert len(outside) <= binom.ppf(0.999, len(examples()), 0.01), outside
    assert all(ratio < 1.5 for ratio in outside.values()), outside


def test_a_wrong_score_does_not_pass() -> None:
    law = make_distribution(QUICK[0])
    true = true_predictor(law, PROCESS)
    rng = np.random.default_rng(3)
    start = exact_draws(law, PROCESS, PROCESS.t_max, POINTS, rng)
    found = sample(lambda y, t: 0.7 * true(y, t), PROCESS, start[None], [rng])[0]
    a, b = (exact_draws(law, PROCESS, PROCESS.t_min, POINTS, rng) for _ in range(2))
    assert energy_distance(found, a) > 5 * abs(energy_distance(b, a))
