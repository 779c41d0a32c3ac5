"""The stability limit against the kernel matrix of a real data set, and who is warned."""

from __future__ import annotations

import numpy as np
import pytest

from study.planning.stability import (
    MAXIMUM_CHECKED,
    MAXIMUM_DIMENSION,
    stability_limit,
    stability_warnings,
)
from trainers.kernel.ntk import relu_ntk
from trainers.laws import make_distribution
from trainers.problem.regression import draw_training_set
from trainers.trial import Cube, GaussianMixture, TrialConfig


def trial(step_size: float = 1.0, **others: object) -> TrialConfig:
    fields = {"law": GaussianMixture(dimension=2), "samples": 2048, "width": 64, **others}
    return TrialConfig(step_size=step_size, **fields)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("law", [GaussianMixture(dimension=2), Cube(dimension=4)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_limit_is_that_of_the_data_set(law: object, bias: bool) -> None:
    config = trial(law=law, bias=bias)
    z = draw_training_set(config, make_distribution(config.law)).z
    exact = 2 * len(z) / np.linalg.eigvalsh(relu_ntk(z, z))[-1]
    assert stability_limit(config) == pytest.approx(exact, rel=0.15)


def test_kernel_descent_is_stable_below_the_limit_and_not_above() -> None:
    config = trial()
    z = draw_training_set(config, make_distribution(config.law)).z[:256]
    kernel, limit = relu_ntk(z, z), stability_limit(config)
    for factor, stable in ((0.8, True), (1.25, False)):
        residual = np.ones(256)
        for _ in range(200):
            residual = residual - factor * limit / 256 * kernel @ residual
        assert bool(np.linalg.norm(residual) < 16) is stable


def test_one_warning_for_every_law_that_is_beyond() -> None:
    calm = trial(1.0)
    assert stability_warnings([calm]) == []
    trials = [calm, trial(40.0), trial(50.0), trial(60.0, law=Cube(dimension=1))]
    warnings = stability_warnings(trials)
    assert len(warnings) == 2
    assert "step_size = 60 is above the stability limit" in warnings[0]
    assert "cube" in warnings[0]
    assert "step_size = 50 is above the stability limit" in warnings[1]


@pytest.mark.slow
def test_images_have_a_limit_too_and_many_laws_are_not_all_measured() -> None:
    image = trial(law=GaussianMixture(dimension=784))
    z = draw_training_set(image, make_distribution(image.law)).z[:300]
    exact = 2 * len(z) / np.linalg.eigvalsh(relu_ntk(z, z))[-1]
    assert stability_limit(image) == pytest.approx(exact, rel=0.15)
    laws = [GaussianMixture(dimension=1, seed=seed) for seed in range(MAXIMUM_CHECKED + 3)]
    vast = trial(law=Cube(dimension=MAXIMUM_DIMENSION + 1))
    (said,) = stability_warnings([*(trial(1e-3, law=law) for law in laws), vast])
    assert f"for {MAXIMUM_CHECKED} of {MAXIMUM_CHECKED + 4} laws" in said
