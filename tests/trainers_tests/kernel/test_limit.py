"""Kernel descent alone: against the columns beside networks, plain iteration, and one by one."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from trainers import TrialConfig
from trainers.kernel import limit
from trainers.kernel.limit import DataSet, LimitColumns, Reading, limit_columns
from trainers.kernel.ntk import relu_ntk
from trainers.kernel.reference import interpolation_error, kernel_columns, rkhs_elements
from trainers.kernel.solution import decompose
from trainers.kernel.terms import KernelReference, RkhsElement
from trainers.laws import make_distribution
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import Samples, draw_training_set
from trainers.trial import recorded_steps

CPU = torch.device("cpu")
STEPS = recorded_steps(500, 12)


def config(**changes: object) -> TrialConfig:
    values = {
        "law": {"kind": "gaussian_mixture", "dimension": 2, "seed": 5},
        "samples": 60,
        "width": 64,
        "step_size": 0.8,
        "test_points": 200,
        "holdout_points": 100,
        "norms": (0.3, 3.0),
        **changes,
    }
    return TrialConfig.model_validate(values)


def problem(
    count: int = 1, **changes: object
) -> tuple[TrialConfig, list[Samples], EvaluationSet, list[RkhsElement]]:
    base = config(**changes)
    law = make_distribution(base.law, {})
    data = [draw_training_set(base.changed(seed=seed), law) for seed in range(count)]
    evaluation = EvaluationSet.draw(base, law)
    return base, data, evaluation, rkhs_elements(base, evaluation, CPU)


def only(
    data: Samples, reading: Reading, evaluation: EvaluationSet, **more: object
) -> LimitColumns:
    ((columns,),) = limit_columns([DataSet(data, [reading])], evaluation, **more)  # type: ignore[arg-type]
    return columns


@pytest.mark.parametrize("samples", [60, 300])
def test_the_columns_are_those_beside_a_network_on_the_same_data(samples: int) -> None:
    base, (data,), evaluation, elements = problem(samples=samples)
    reference = KernelReference.build(
        data.z, data.x0, data.fstar, evaluation.z, elements, route="eigen"
    )
    beside = kernel_columns(
        base, reference, evaluation, STEPS, interpolation_error(data, evaluation)
    )
    got = only(data, Reading(base.step_size, STEPS), evaluation, element=elements[-1])
    assert got.route == ("eigen" if samples == 60 else "lanczos")
    for name, column in beside.series.items():
        exact = got.route == "eigen" or name != "kernel_complexity"
        # The complexity from a Krylov basis is an upper bound: see KernelDescent.complexity.
        np.testing.assert_allclose(got.series[name], column, rtol=1e-9 if exact else 1e-6)
    for name, value in beside.values.items():
        assert got.values[name] == pytest.approx(value, rel=1e-9)
    np.testing.assert_array_equal(got.series["score_error"], got.series["kernel_score_error"])
    assert got.diverged_step == -1


def test_without_an_element_nothing_else_changes() -> None:
    base, (data,), evaluation, elements = problem()
    reading = Reading(base.step_size, STEPS)
    bare, full = (only(data, reading, evaluation, element=e) for e in (None, elements[-1]))
    terms = {"label_mismatch", "early_stopping", "approximation"}
    assert set(full.series) - set(bare.series) == terms
    for name, column in bare.series.items():
        np.testing.assert_allclose(column, full.series[name], rtol=1e-10)


def test_descent_step_by_step_gives_the_same_errors() -> None:
    base, (data,), evaluation, _ = problem()
    got = only(data, Reading(base.step_size, STEPS), evaluation)
    K, cross = relu_ntk(data.z, data.z), relu_ntk(evaluation.z, data.z)
    weights = np.zeros_like(data.x0)
    n = len(evaluation.test)
    factor = (evaluation.test.alpha / evaluation.test.h) ** 2
    for step in range(STEPS[-1] + 1):
        residual = K @ weights - data.x0
        if step in STEPS:
            at = STEPS.index(step)
            f = cross @ weights
            squared = np.square(f[:n] - evaluation.test.fstar).sum(1) * evaluation.point_weights
            held = np.square(f[n:] - evaluation.holdout.x0).sum(1).mean() / 2
            loss = np.square(residual).sum(1).mean() / 2
            for name, value in (
                ("score_error", squared.sum()),
                ("score_error_unweighted", (squared * factor).sum()),
                ("holdout_loss", held),
                ("train_loss", loss),
            ):
                assert got.series[name][at] == pytest.approx(value, rel=1e-10), name
        weights = weights - base.step_size / base.samples * residual


@pytest.mark.slow
@pytest.mark.parametrize("samples", [60, 300])
def test_many_data_sets_are_each_as_they_are_alone(samples: int) -> None:
    _, data, evaluation, elements = problem(10, samples=samples)  # 8 of 60 points fill a tile
    readings = [Reading(0.5, STEPS), Reading(2.0, STEPS[:7])]
    sets = [DataSet(own, readings) for own in data]
    together = list(limit_columns(sets, evaluation, elements[-1]))
    assert len(together) == len(data)
    for own, columns in zip(data, together, strict=True):
        for reading, got in zip(readings, columns, strict=True):
            alone = only(own, reading, evaluation, element=elements[-1])
            for name, column in alone.series.items():
                np.testing.assert_allclose(got.series[name], column, rtol=1e-9)
            assert got.values == pytest.approx(alone.values, rel=1e-9)


@pytest.mark.slow
def test_data_sets_of_several_sizes_keep_their_order() -> None:
    _, (small, *_), evaluation, _ = problem()
    _, (large, *_), _, _ = problem(samples=90)
    reading = Reading(1.0, STEPS)
    sets = [DataSet(own, [reading]) for own in (small, large, small)]
    both = list(limit_columns(sets, evaluation))
    for (got,), own in zip(both, (small, large, small), strict=True):
        alone = only(own, reading, evaluation)
        np.testing.assert_allclose(got.series["bias"], alone.series["bias"], rtol=1e-9)


@pytest.mark.parametrize("samples", [60, 300])
def test_a_step_size_above_the_limit_diverges_at_a_recorded_step(samples: int) -> None:
    _, (data,), evaluation, _ = problem(samples=samples)
    limit_ = only(data, Reading(1.0, STEPS), evaluation).values["largest_step_size"]
    fine = only(data, Reading(0.99 * limit_, STEPS), evaluation)
    assert fine.diverged_step == -1
    assert np.isfinite(fine.series["score_error"]).all()
    wild = only(data, Reading(1.5 * limit_, STEPS), evaluation)
    at = STEPS.index(wild.diverged_step)
    assert at > 0
    for name in ("score_error", "train_loss", "variance"):
        assert np.isfinite(wild.series[name][:at]).all()
        assert np.isnan(wild.series[name][at:]).all()


def test_beyond_what_is_certified_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (data,), evaluation, _ = problem(samples=300)
    whole = only(data, Reading(1.0, STEPS), evaluation)
    monkeypatch.setattr(limit, "decompose", partial(decompose, max_products=6))
    again = only(data, Reading(1.0, STEPS), evaluation)
    assert again.route == "eigen"  # N allows it
    np.testing.assert_allclose(again.series["variance"], whole.series["variance"], rtol=1e-9)
    monkeypatch.setattr(limit, "EIGEN_FEASIBLE", 100)
    short = only(data, Reading(1.0, STEPS), evaluation)
    known = np.asarray(STEPS) <= short.horizon
    assert 0 < short.horizon < STEPS[-1]
    np.testing.assert_allclose(
        short.series["variance"][known], whole.series["variance"][known], rtol=1e-8
    )
    assert np.isnan(short.series["variance"][~known]).all()
    assert short.diverged_step == -1


def test_a_singular_kernel_has_no_interpolant_but_a_trajectory() -> None:
    _, (data, other), evaluation, _ = problem(2)
    twice = Samples(
        **{
            name: np.concatenate([getattr(data, name)[:30]] * 2)
            for name in ("t", "x0", "xt", "z", "fstar", "alpha", "h")
        }
    )
    sets = [DataSet(own, [Reading(1.0, STEPS)]) for own in (twice, other)]
    (singular,), (regular,) = limit_columns(sets, evaluation)
    assert math.isnan(singular.values["interpolation_error"])
    assert np.isfinite(singular.series["score_error"]).all()
    assert regular.values["interpolation_error"] > 0


def test_the_work_can_be_stopped_between_decompositions() -> None:
    class Enough(Exception):
        pass

    def tick() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Enough

    calls = 0
    _, data, evaluation, _ = problem(3, samples=300)
    sets = [DataSet(own, [Reading(1.0, STEPS)]) for own in data]
    made = limit_columns(sets, evaluation, tick=tick)
    next(made)
    with pytest.raises(Enough):
        next(made)


@pytest.mark.cuda
@pytest.mark.parametrize("samples", [60, 300])
def test_a_gpu_gives_the_same_numbers(samples: int) -> None:
    _, (data,), evaluation, elements = problem(samples=samples)
    reading = Reading(1.0, STEPS)
    there, here = (
        only(data, reading, evaluation, element=elements[-1], device=device)
        for device in ("cuda", "cpu")
    )
    for name, column in here.series.items():
        np.testing.assert_allclose(there.series[name], column, rtol=1e-8)
