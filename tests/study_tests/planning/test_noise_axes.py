"""Copies, times and weights as the planner sees them: rows for samples, and their own limits."""

import math

import numpy as np
import pytest

from study.planning.asked import planned_curves
from study.planning.cost import (
    DEFAULT_SPEEDS,
    has_kernel,
    kernel_work,
    limit_products,
    limit_work,
    seconds_of,
)
from study.planning.memory import memory_of, refuse_what_does_not_fit
from study.planning.plan import families
from study.planning.stability import stability_limit, stability_warnings
from study.spec.messages import SpecError
from study.spec.sections import StudySpec
from trainers.kernel.ntk import relu_ntk
from trainers.laws import make_distribution
from trainers.problem.regression import draw_training_set, row_weights, scaled
from trainers.trial import TrialConfig

LAW = {"kind": "gaussian_mixture", "dimension": 2, "seed": 5}


def config(**changes: object) -> TrialConfig:
    values = {"law": LAW, "samples": 64, "width": 128, "step_size": 0.5, **changes}
    return TrialConfig.model_validate(values)


@pytest.mark.parametrize(
    "noise",
    [{"weight": "score"}, {"weight": "eps", "time_law": "log_snr"}, {"time_law": "log_normal"}],
)
def test_the_limit_is_that_of_the_weighted_kernel(noise: dict[str, object]) -> None:
    c = config(samples=1024, **noise)
    data = draw_training_set(c, make_distribution(c.law))
    rows = scaled(data, row_weights(c, data.t))
    largest = float(np.linalg.eigvalsh(relu_ntk(rows.z, rows.z))[-1])
    assert stability_limit(c) == pytest.approx(2 * 1024 / largest, rel=0.15)
    (message,) = stability_warnings([c.changed(step_size=50.0)])
    for name, value in noise.items():
        assert f"{name}: {value}" in message
    assert "weight" not in stability_warnings([config(step_size=50.0)])[0]


def test_copies_cost_what_as_many_samples_cost() -> None:
    copied, plain = config(copies=8), config(samples=512)
    assert kernel_work([copied]) == kernel_work([plain])
    # The gap is measured at as many points as the holdout loss; and at infinite width copies go
    # twice as far in time, for which passes grow as its root.
    entries, operations = limit_work([copied])
    of_one, of_operations = limit_work([plain.changed(holdout_points=2048)])
    assert entries == of_one
    assert 1 < operations / of_operations < 1.5
    assert limit_products(copied) == pytest.approx(2**0.5 * limit_products(plain), rel=0.05)
    speeds = DEFAULT_SPEEDS["cpu"]
    assert seconds_of([copied], speeds) == pytest.approx(seconds_of([plain], speeds), rel=0.2)
    assert memory_of([copied]) == pytest.approx(memory_of([plain]), rel=0.1)
    assert copied.training_operations == plain.training_operations


def test_fresh_noise_costs_its_drawing_and_has_no_kernel() -> None:
    fresh = config(copies="fresh", steps=5000)
    assert not has_kernel(fresh)
    speeds = DEFAULT_SPEEDS["cpu"]
    assert seconds_of([fresh], speeds) > seconds_of([config(steps=5000, kernel=False)], speeds)


def test_what_does_not_fit_names_the_copies() -> None:
    with pytest.raises(SpecError, match=r"samples x copies = 100,000,000.*lower samples x copies"):
        refuse_what_does_not_fit([config(samples=1000, copies=100_000)], 2**34)


def test_families_do_not_mix_noises() -> None:
    noises: list[dict[str, object]] = [
        {}, {"copies": 2}, {"copies": "fresh"}, {"weight": "v"}, {"time_law": "log_snr"}
    ]  # fmt: skip
    trials = [config(seed=seed, **noise) for noise in noises for seed in range(2)]
    assert [len(family) for family in families(trials)] == [2] * len(noises)


def test_theory_is_asked_of_the_usual_noise() -> None:
    samples = (64, 128, 256, 512, 1024)
    usual = [config(samples=n, width=math.inf, seed=s) for n in samples for s in range(3)]
    others = [t.changed(weight="eps") for t in usual]
    assert planned_curves([*usual, *others]) == planned_curves(usual)
    assert len(planned_curves(others)) == len(planned_curves(usual))


def test_seeds_of_the_kernel_leave_fresh_noise_out() -> None:
    spec = StudySpec.from_mapping(
        {
            "name": "s", "law": LAW, "seeds": {"network": 2, "kernel": 4},
            "base": {"samples": 64, "width": 32, "step_size": 1.0, "copies": [3, "fresh"]},
        }
    )  # fmt: skip
    limits = [t for t in spec.trials() if t.infinite]
    assert [(t.copies, t.seed) for t in limits] == [(3, seed) for seed in range(4)]
